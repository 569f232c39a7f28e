"""What the kernel says of the control group of this process: its memory."""

from __future__ import annotations

from functools import cache
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@cache
def _folder(own: Path = Path("/proc/self/cgroup")) -> Path | None:
    """Of version 2, the only one in systemd's default setup; None on other machines."""
    try:
        path = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    return ROOT / path.lstrip("/")


def number(name: str) -> int | None:
    """The number in a file of the group; None if there is no such file, or no limit."""
    text = _read(name).strip()
    return int(text) if text.isdecimal() else None


def oom_kills() -> int:
    """Processes of the group that the kernel has killed for memory."""
    entries = dict(line.split(" ", 1) for line in _read("memory.events").splitlines() if " " in line)
    return int(entries.get("oom_kill", 0))


def _read(name: str) -> str:
    folder = _folder()
    try:
        return (folder / name).read_text() if folder else ""
    except OSError:
        return ""
