"""Second instances: workers that serve a queue while another restarts. Their units end with a reboot."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from fleet_node.step.systemd import Supervisor, runtime

UNIT_FOLDER = "run/systemd/system"
SLICE = Path("/sys/fs/cgroup/fleet.slice")


def write(unit: str, text: str, root: Path) -> None:
    """Write the unit file. systemd knows the unit when it has reloaded."""
    folder = root / UNIT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / unit).write_text(text)


def end(supervisor: Supervisor, root: Path = Path("/"), units: Iterable[str] | None = None) -> None:
    """Drain and end `units`, or all second instances of the machine."""
    folder = root / UNIT_FOLDER
    ending = list(units) if units is not None else [path.name for path in folder.glob("celery-*-surge.service")]
    if not ending:
        return
    supervisor.stop(ending)
    for unit in ending:
        (folder / unit).unlink(missing_ok=True)
        shutil.rmtree(runtime(root, unit), ignore_errors=True)
    supervisor.reload()


def available(slice_folder: Path = SLICE) -> int:
    """Bytes that another worker could take: free memory of the machine, and of fleet.slice."""
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(meminfo["MemAvailable"].split()[0]) * 1024
    try:
        limit = int((slice_folder / "memory.max").read_text())
        stat = dict(line.split() for line in (slice_folder / "memory.stat").read_text().splitlines())
        # The kernel gives up pages of files for a process that needs memory.
        used = int((slice_folder / "memory.current").read_text()) - int(stat["inactive_file"]) - int(stat["active_file"])
    except (OSError, ValueError, KeyError):  # no slice yet, or "max"
        return free
    return min(free, limit - used)
