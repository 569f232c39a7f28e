"""Numbers of a report in words, and the scales of its charts. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

Unit = Literal["seconds", "number", "rate", "percent", "bytes"]

_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172800, 432000, 864000)
_TICKS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
MOST_TICKS = 8
NBSP = "\u00a0"
"""A space at which no line ends."""


def text(value: float | None, unit: Unit) -> str:
    """A number with its unit; a dash if it is not known."""
    if value is None:
        return "-"
    if unit == "seconds":
        return seconds_text(value)
    if unit == "percent":
        return f"{value:.0f}{NBSP}%"
    if unit == "bytes":
        return bytes_text(value)
    if unit == "number" and value >= 1e6:
        return f"{value / 1e6:.3g}{NBSP}M"
    return f"{_short(value)}/s" if unit == "rate" else f"{value:,.0f}" if value >= 10 else _short(value)


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 10 else f"{value:.1f}".rstrip("0").rstrip(".")


def seconds_text(seconds: float) -> str:
    """As in "8.3 s", "95 s", "31 min", "3.5 h", "2.1 d"."""
    if seconds < 10:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + f"{NBSP}s"
    for unit, length, least in (("d", 86400, 2 * 86400), ("h", 3600, 2 * 3600), ("min", 60, 120)):
        if seconds >= least:
            number = seconds / length
            return f"{number:.0f}{NBSP}{unit}" if number >= 10 else f"{number:.1f}".rstrip("0").rstrip(".") + f"{NBSP}{unit}"
    return f"{seconds:.0f}{NBSP}s"


def bytes_text(number: float) -> str:
    """As in "780 MiB", "1.5 GiB"."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= size:
            value = number / size
            return f"{value:.0f}{NBSP}{unit}" if value >= 10 else f"{value:.1f}".rstrip("0").rstrip(".") + f"{NBSP}{unit}"
    return f"{number:.0f}{NBSP}B"


def scale(most: float, unit: Unit) -> float:
    """The top of a chart: a round number that is not below the most in it."""
    if unit == "percent":
        return 100.0 if most <= 100 else math.ceil(most / 50) * 50.0
    if most <= 0:
        return 1.0
    if unit == "seconds":
        return float(next((top for top in _SECONDS if top >= most), math.ceil(most / 864000) * 864000))
    power = 2.0 ** math.floor(math.log2(most)) if unit == "bytes" else 10.0 ** math.floor(math.log10(most))
    return next((factor * power for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if factor * power >= most), 10 * power)


def clock(at: float, seconds: bool = False) -> str:
    """The time of day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S" if seconds else "%H:%M")


def date(at: float) -> str:
    """The day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def moment(at: float) -> str:
    """Day and time in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def ticks(start: float, end: float) -> list[tuple[float, str]]:
    """(share of the width from 0 to 1, label) of the marks of a time axis in UTC."""
    span = end - start
    step = next((step for step in _TICKS if span / step <= MOST_TICKS), _TICKS[-1])
    first = math.ceil(start / step) * step
    times: Sequence[float] = [first + number * step for number in range(int((end - first) / step) + 1)]
    return [((at - start) / span, _tick(at, step)) for at in times]


def _tick(at: float, step: float) -> str:
    midnight = at % 86400 == 0
    return datetime.fromtimestamp(at, UTC).strftime("%b %d") if midnight else clock(at, seconds=step < 60)
