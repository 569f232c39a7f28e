"""Second instances: workers that serve a queue in another's place while that one restarts. Their units end with a reboot."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from fleet_node.step.systemd import Supervisor, runtime

UNITS = "run/systemd/system"
SLICE = Path("/sys/fs/cgroup/fleet.slice")


def write(unit: str, text: str, root: Path) -> None:
    """Its unit, where systemd finds it once it has reloaded."""
    folder = root / UNITS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / unit).write_text(text)


def end(supervisor: Supervisor, root: Path = Path("/"), units: Iterable[str] | None = None) -> None:
    """Drain and end `units`, or all that there are."""
    folder = root / UNITS
    found = list(units) if units is not None else [path.name for path in folder.glob("celery-*-surge.service")]
    if not found:
        return
    supervisor.stop(found)
    for unit in found:
        (folder / unit).unlink(missing_ok=True)
        shutil.rmtree(runtime(root, unit), ignore_errors=True)
    supervisor.reload()


def available(slice_folder: Path = SLICE) -> int:
    """Bytes that another worker could take: what the machine has, and what fleet.slice leaves."""
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(meminfo["MemAvailable"].split()[0]) * 1024
    try:
        limit = int((slice_folder / "memory.max").read_text())
        stat = dict(line.split() for line in (slice_folder / "memory.stat").read_text().splitlines())
        # Pages of files are given up for a process that needs them.
        used = int((slice_folder / "memory.current").read_text()) - int(stat["inactive_file"]) - int(stat["active_file"])
    except (OSError, ValueError, KeyError):  # no slice yet, or "max"
        return free
    return min(free, limit - used)
