"""Whether a task that takes its worker down does so because it takes too much memory."""

from __future__ import annotations

from pathlib import Path


class MemoryKills:
    """The processes of this worker's cgroup that the kernel has killed for memory."""

    def __init__(self) -> None:
        self._count = _memory_kills()

    def happened(self) -> bool:
        """Whether the kernel has killed a process since the last call, or since the start."""
        now = _memory_kills()
        if now is None:
            return False
        before, self._count = self._count, now
        return before is not None and now > before


def _memory_kills() -> int | None:
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
        lines = Path(f"/sys/fs/cgroup{group}/memory.events").read_text().split()
        return int(lines[lines.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return None
