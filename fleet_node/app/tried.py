"""The versions of Celery, kombu and redis-py with which the fleet's promises are tested."""

from __future__ import annotations

from collections.abc import Mapping

from fleet_node.patches.versions import NEWER, Range

TRIED: dict[str, Range] = {"celery": Range("5.3", "5.7"), "kombu": Range("5.3", "5.7"), "redis": Range("4.6", "8.1")}
"""Package → versions. `make matrix` tests them."""


def untried(versions: Mapping[str, str]) -> list[str]:
    """Those of the versions that nobody tried, in words. versions: by package."""
    lines = []
    for package, tried in TRIED.items():
        version = versions.get(package, tried.last)
        if version not in tried:
            age = "newer" if version in Range(tried.first, NEWER) else "older"
            lines.append(f"{package} {version}: {age} than any that was tried ({tried.first} to {tried.last})")
    return lines
