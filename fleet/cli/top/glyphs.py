"""The characters that `fleet top` draws with, and those of ASCII for a terminal that has no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from fleet.spec.text import printable

IDLE, BUSY, OVER, NEAR, UNKNOWN = "·", "■", "▲", "‼", "?"
"""A slot: runs nothing, a task, one that is longer than others of its name, one near its limit; nobody knows."""
FULL, REST = "█", "░"
LEVELS = "▁▂▃▄▅▆▇█"
DOT, ARROW = "●", "→"
_ASCII = str.maketrans(f"{IDLE}{BUSY}{OVER}{NEAR}{REST}{LEVELS}{DOT}{ARROW}…±×", ".#^!._.:-=+*#*>~~x")


def needs_ascii(environment: Mapping[str, str]) -> bool:
    """Whether the locale of a process has no other characters."""
    locale = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := environment.get(name))), "UTF-8")
    return "utf" not in locale.lower()


def fit(text: Text) -> Text:
    """The same without what would move the cursor or turn text around, character for character."""
    text = text.copy()
    text.plain = "\n".join(map(printable, text.plain.split("\n")))
    return text


def in_ascii(text: Text) -> Text:
    """The same in ASCII, character for character."""
    text = text.copy()
    text.plain = text.plain.translate(_ASCII)
    return text


def bar(share: float, width: int) -> tuple[str, str]:
    """(full part, rest) of a bar. share: of 1."""
    full = width if share >= 1 else max(round(share * width), 1 if share > 0 else 0)
    return FULL * full, REST * (width - full)


def spark(values: Sequence[float | None]) -> str:
    """A line of values, as high as the greatest; a space where nothing is known."""
    most = max((value for value in values if value is not None), default=0.0)
    return "".join(" " if value is None else LEVELS[round(value / most * (len(LEVELS) - 1)) if most else 0] for value in values)


def cells(numbers: Sequence[tuple[str, int]], width: int) -> list[tuple[str, int]]:
    """(glyph, number of cells) of slots in at most `width` cells. numbers: (glyph, slots); none of them vanishes."""
    total = sum(number for _, number in numbers)
    shares = {glyph: max(1, number * width // total) if total > width else number for glyph, number in numbers if number}
    if total > width:
        shares[max(shares, key=lambda glyph: shares[glyph])] += width - sum(shares.values())
    return list(shares.items())
