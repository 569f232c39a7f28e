"""A VM's process: start it, find it, end it. No signal is sent without proof that the PID is this VM."""

import os
import signal
import subprocess
import time
from pathlib import Path

from lab.errors import LabError
from lab.qemu import Vm, argv, is_vm


def create_disk(disk: Path, base: Path) -> None:
    """Create a disk: an empty overlay over the image's `base`. Raises `LabError` if qemu-img fails."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(disk)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"cannot make the disk {disk}: {done.stderr.strip()}")


def start(vm: Vm) -> int:
    """Start the VM, in a session of its own so that it outlives this command and its terminal. Returns its PID."""
    with (vm.directory / f"{vm.name}.qemu.log").open("wb") as log:
        process = subprocess.Popen(
            argv(vm), cwd=vm.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    # For a moment after exec the kernel shows no command line, and the VM would pass for dead.
    while process.poll() is None and not is_running(process.pid, vm.pidfile):
        time.sleep(0.01)
    return process.pid


def is_running(pid: int, pidfile: Path) -> bool:
    """Whether `pid` is the VM with this pidfile, and alive (a zombie's command line is empty)."""
    try:
        return is_vm(Path(f"/proc/{pid}/cmdline").read_bytes(), pidfile)
    except OSError:
        return False


def pid_of(pidfile: Path) -> int | None:
    """The PID of the running VM with this pidfile, or None.

    It is looked up in /proc and not in the file: a VM just started has not written the file yet, and a dead VM leaves it.
    """
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return next((pid for pid in pids if is_running(pid, pidfile)), None)


def seconds_up(pid: int) -> float | None:
    """For how many seconds process `pid` has run; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, float(Path("/proc/uptime").read_text().split()[0]) - started)


def stop(pidfile: Path, grace: float = 5) -> int | None:
    """End the VM with this pidfile: SIGTERM (QEMU closes its disk), after `grace` seconds SIGKILL. Its PID, or None."""
    pid = pid_of(pidfile)
    if pid is None:
        return None
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_running(pid, pidfile):
            break
        os.kill(pid, number)
        deadline = time.monotonic() + grace
        while is_running(pid, pidfile) and time.monotonic() < deadline:
            time.sleep(0.05)
    return pid
