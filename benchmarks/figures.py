"""Figures from measurements of several contenders, taken in turns, and the machine that they were taken on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`median (min-max)`."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), median(values), max(values)))
    return f"{middle} ({low}\N{EN DASH}{high})" if len(values) > 1 else middle


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Ratios, round by round: other work of the machine slows down both measurements of a round."""
    return [value / base for value, base in zip(above, below, strict=True)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def machine() -> dict[str, str]:
    """The machine, in words."""
    about = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    model = next((value.strip() for name, value in about.items() if name.strip() == "model name"), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return {
        "CPU": f"{os.cpu_count()} cores, {model}",
        "memory": f"{memory:.1f} GiB",
        "system": f"{system}, Linux {platform.release()}",
        "Python": platform.python_version(),
    }


def busy(seconds: float = 0.5) -> float:
    """The share of all CPU time that other processes use, 0 to 1, measured while this one sleeps."""

    def spent() -> tuple[int, int]:
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    total, idle = spent()
    time.sleep(seconds)
    total_after, idle_after = spent()
    return 1 - (idle_after - idle) / max(1, total_after - total)
