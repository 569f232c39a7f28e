"""Ranges of versions of Celery and kombu. Standard library alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

NEWEST = 1 << 30
"""Above every part of a version."""


@dataclass(frozen=True)
class Range:
    """Versions from `first` to `last`, both included: "5.7" as the last includes 5.7.4, and "5.7.0" does not."""

    first: str
    last: str

    def __contains__(self, version: str) -> bool:
        return _parts(self.first, 0) <= _parts(version, 0) <= _parts(self.last, NEWEST)

    def within(self, other: Range) -> bool:
        """Whether `other` includes all versions of this range."""
        first_is_in = _parts(other.first, 0) <= _parts(self.first, 0)
        return first_is_in and _parts(self.last, NEWEST) <= _parts(other.last, NEWEST)


NEWER = "9999"
"""The last version of a Range that has no end yet."""

ANY = Range("0", NEWER)


@dataclass(frozen=True)
class Versions:
    """Combinations of Celery and kombu."""

    celery: Range = ANY
    kombu: Range = ANY

    def include(self, celery: str, kombu: str) -> bool:
        """Whether these two versions are a combination of them."""
        return celery in self.celery and kombu in self.kombu

    def within(self, other: Versions) -> bool:
        """Whether `other` includes all combinations of these versions."""
        return self.celery.within(other.celery) and self.kombu.within(other.kombu)


def _parts(version: str, filler: int) -> tuple[int, ...]:
    """The first three numbers of a version; `filler` for each that is not there."""
    parts = [int(part) for part in re.findall(r"\d+", version)[:3]]
    return tuple(parts + [filler] * (3 - len(parts)))
