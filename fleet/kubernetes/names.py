"""Names of the fleet's objects, which have to be DNS labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fleet.errors import FleetError

LONGEST = 63 - len("-00000000000-00000") - len("celery-")
"""Letters of a role in a Deployment's name: a pod's is two parts longer, and a host name as well."""

RESERVED = frozenset({"account", "beat", "exporter", "kustomization", "redis"})
"""Labels of the fleet's own files and objects."""


class LabelError(FleetError):
    """Two names would become one, or none is left. str() says which."""


def label(text: str) -> str:
    """A name as a DNS label: what it may not have becomes a hyphen. Raises LabelError if nothing is left."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST].rstrip("-")
    if not cleaned:
        raise LabelError(f"{text}: no letter and no digit of it can be in a name of Kubernetes'; rename it")
    return cleaned


def labels(names: Iterable[str]) -> dict[str, str]:
    """Name → DNS label. Raises LabelError if two become one, or one is RESERVED."""
    by_label: dict[str, str] = {}
    for name in names:
        if label(name) in RESERVED:
            raise LabelError(f"{name}: the fleet has something of its own with that name on Kubernetes; rename the role")
        if other := by_label.get(made := label(name)):
            raise LabelError(f"{other}, {name}: both would be {made} on Kubernetes; rename one of them")
        by_label[made] = name
    return {name: made for made, name in by_label.items()}


def changed(names: Mapping[str, str]) -> list[str]:
    """What the user is told of names that are others on Kubernetes."""
    return [
        f"{name} is {made} on Kubernetes: names there have small letters, digits and hyphens"
        for name, made in names.items()
        if name != made
    ]
