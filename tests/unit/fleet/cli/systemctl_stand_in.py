"""`systemctl` on a machine without systemd: it knows the workers there by their names, and stops one as its unit says."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


def unit_text(unit: str) -> str:
    return (ROOT / "etc" / "systemd" / "system" / unit).read_text()


def pid_of(unit: str) -> int:
    """The main process of a unit; 0 if there is none."""
    match = re.search(r"--hostname=(\S+)", unit_text(unit))
    node = match[1] if match else ""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdigit() or (folder / "cwd").readlink() != ROOT:
                continue
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if f"--hostname={node}" in words:
            found.append(int(folder.name))
    return min(found, default=0)


def show(units: list[str]) -> None:
    for unit in units:
        pid = pid_of(unit)
        lines = {
            "Id": unit,
            "LoadState": "loaded",
            "ActiveState": "active" if pid else "inactive",
            "SubState": "running" if pid else "dead",
            "Result": "success",
            "MainPID": str(pid),
            "MemoryMax": str(400 << 20),
            "NRestarts": "0",
        }
        if pid:
            began = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / TICKS
            lines["MemoryCurrent"] = str(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE)
            lines["ActiveEnterTimestampMonotonic"] = str(round(began * 1e6))
        sys.stdout.write("".join(f"{name}={value}\n" for name, value in lines.items()) + "\n")


def stop(unit: str) -> None:
    pid = pid_of(unit)
    if not pid or os.fork():
        return
    os.setsid()
    for stream in (0, 1, 2):
        os.close(stream)
        os.open(os.devnull, os.O_RDWR)
    lines = dict(line.partition("=")[::2] for line in unit_text(unit).splitlines())
    variables = [item.partition("=")[::2] for item in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in item]
    subprocess.run(shlex.split(lines["ExecStop"]), env={**dict(variables), "MAINPID": str(pid)}, check=False)
    os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    if sys.argv[1:4] == ["show", "--value", "--property=MainPID"]:
        sys.stdout.write("".join(f"{pid_of(unit)}\n" for unit in sys.argv[4:]))
    elif sys.argv[1] == "show":
        show([word for word in sys.argv[2:] if not word.startswith("-")])
    elif sys.argv[1] == "stop":
        stop(sys.argv[-1])
