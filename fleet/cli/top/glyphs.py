"""The characters that `fleet top` draws with: of Unicode, or of ASCII for a terminal that has no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    """idle, busy, over, near, unknown: a slot. full, rest: a bar. levels: a line of values, from none to most."""

    idle: str
    busy: str
    over: str
    near: str
    unknown: str
    full: str
    rest: str
    levels: str
    dot: str
    arrow: str
    border: str


UNICODE = Glyphs("·", "■", "▲", "‼", "?", "█", "░", " ▁▂▃▄▅▆▇█", "●", "→", "round")
ASCII = Glyphs(".", "#", "^", "!", "?", "=", "-", " .:-=+*%@", "*", ">", "ascii")


def glyphs_for(environment: Mapping[str, str]) -> Glyphs:
    """By the locale of a process."""
    locale = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := environment.get(name))), "UTF-8")
    return UNICODE if "utf" in locale.lower() else ASCII


def bar(share: float, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """(full part, rest) of a bar. share: of 1."""
    full = min(width, round(share * width)) if share < 1 else width
    if share > 0 and not full:
        full = 1
    return glyphs.full * full, glyphs.rest * (width - full)


def spark(values: Sequence[float | None], glyphs: Glyphs, top: float | None = None) -> str:
    """A line of values, as high as the greatest; a space where nothing is known. top: the greatest, if not of these."""
    most = top or max((value for value in values if value is not None), default=0.0)
    steps = len(glyphs.levels) - 1
    return "".join(
        " " if value is None else glyphs.levels[1 if not most else 1 + round(min(1.0, value / most) * (steps - 1))]
        for value in values
    )


def cells(numbers: Sequence[tuple[str, int]], width: int) -> list[tuple[str, int]]:
    """(glyph, number of cells) of slots in at most `width` cells. numbers: (glyph, slots), the gravest first; none of them
    vanishes."""
    total = sum(number for _, number in numbers)
    if total <= width:
        return [(glyph, number) for glyph, number in numbers if number]
    shares = [(glyph, max(1, number * width // total) if number else 0) for glyph, number in numbers]
    excess = sum(number for _, number in shares) - width
    largest = max(range(len(shares)), key=lambda index: shares[index][1])
    glyph, number = shares[largest]
    shares[largest] = (glyph, number - excess)
    return [(glyph, number) for glyph, number in shares if number]
