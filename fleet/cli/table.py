"""Tables as text. They are as wide as their cells: folded cells are unreadable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def lines_of(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A line for the heads, and one for each row."""
    lines = [tuple(heads), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def span(seconds: float) -> str:
    """A time in two characters or a few more: 12s, 5m, 3h, 2d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length or (unit == "m" and seconds >= 60):
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"
