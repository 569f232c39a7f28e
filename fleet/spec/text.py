"""How output shows lists, tables and times, and suggests the nearest name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Others' words as a terminal or a page may show them, character for character: no control characters, none that turn text
    around, and none that is half of another."""
    return _UNPRINTABLE.sub("\ufffd", text)


def short(name: str, most: int = 60) -> str:
    """A name that leaves room for others."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def enumerate_briefly(names: Iterable[str]) -> str:
    """The first three names, and the number of the others."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean NEAREST?`; empty if no known name is near."""
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""


def table_lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A line for the heads, and one for each row. The table is as wide as its cells: folded cells are unreadable."""
    lines = [tuple(heads), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def span(seconds: float) -> str:
    """A time in two characters or a few more: 12s, 90s, 5m, 3h, 2d. A minute is 1m."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length or (unit == "m" and round(seconds) == 60):
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def apart(longer: float, shorter: float) -> tuple[str, str]:
    """Two times, so that one can see which is longer: in seconds if both look the same."""
    texts = span(longer), span(shorter)
    return (f"{longer:.0f}s", f"{shorter:.0f}s") if texts[0] == texts[1] else texts


def count(number: int, thing: str, things: str = "") -> str:
    """A number of things: "1 task", "2 tasks". things: of other numbers than one, if that is not the thing and an s."""
    return f"{number} {thing}" if number == 1 else f"{number} {things or f'{thing}s'}"
