"""The commands on a whole lab: up, down, status, reset."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from lab import image, process, ssh, state, tools
from lab.boot import Boot
from lab.errors import InterruptedByUserError, LabError
from lab.interrupt import Stop
from lab.lock import locked
from lab.machines import default_machines, parse_hosts
from lab.progress import Progress
from lab.qemu import accelerator_here
from lab.record import record
from lab.state import Lab


@dataclass(frozen=True)
class HostStatus:
    """One machine now. `state`: up (SSH answers), starting (its process runs) or down. `seconds_up`: of its process."""

    host: str
    address: str
    ssh_port: int
    memory_mb: int
    pid: int | None
    state: str
    seconds_up: int | None


def up(name: str, hosts: str | None, timeout: float, progress: Progress, stop: Stop) -> Lab:
    """Start the lab `name`, with `hosts` (None: its machines, or the default machines), within `timeout` s a boot.

    Running machines stay as they are. Returns the lab as it is recorded. Raises `LabError` if a machine does not come up, and
    `InterruptedByUserError` if `stop` is set: then no machine that this call started still runs.
    """
    tools.check(tools.TO_RUN)
    known = state.read(name)
    machines = known.machines() if known else []
    requested = parse_hosts(hosts, machines) if hosts else machines or default_machines()
    if known and not Path(known.image, "disk.raw").exists():
        raise LabError(f"the image of lab {name!r} is gone ({known.image}): take the lab down, then up")
    place = Path(known.image) if known else image.ensure(progress, stop)
    directory = state.lab_directory(name)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(directory):
        if state.read(name) != known:
            raise LabError(f"another command changed lab {name!r} meanwhile: run this again")
        lab = record(name, directory, place, known, requested)
        boot = Boot(lab, progress, stop, timeout, accelerator_here())
        names = [machine.name for machine in requested]
        running = [n for n in lab.hosts if process.pid_of(lab.file(n, "pid"))]
        if reused := [n for n in names if n in running]:
            progress.event(f"running already: {', '.join(reused)}")
        try:
            for machine in names:
                boot.start(machine)
            boot.each(boot.wait, names)
            if known and set(lab.hosts) != set(known.hosts):
                boot.each(boot.settle, running)  # their /etc/hosts lacks the new machines
        except InterruptedByUserError:
            progress.event("interrupted: ending what this call started")
            boot.end_started()
            raise
    return lab


def reset(name: str, timeout: float, progress: Progress, stop: Stop) -> Lab:
    """Put every machine of the lab back to the state after its first boot, in seconds. Raises the errors of `up`.

    A machine without such a state, or whose process died, gets a fresh disk and boots.
    """
    lab = existing(name)
    with locked(lab.directory):
        boot = Boot(lab, progress, stop, timeout, accelerator_here())

        def reset_machine(host: str) -> None:
            if boot.rewind(host):
                return
            process.stop(lab.file(host, "pid"))
            boot.start(host, fresh=True)
            boot.wait(host)

        try:
            boot.each(reset_machine, list(lab.hosts))
        except InterruptedByUserError:
            boot.end_started()
            raise
    return lab


def down(name: str) -> list[str]:
    """End every VM of the lab and remove its directory. Returns a line for each thing done; empty if there was nothing to do.

    The VMs are those of the seed files in the directory, not of lab.json: a lab that only half started is removed too.
    """
    directory = state.lab_directory(name)
    if not directory.is_dir():
        return []
    done = []
    with locked(directory):
        for seed in sorted(directory.glob("*.seed")):  # written before a VM is started
            if pid := process.stop(seed.with_suffix(".pid")):
                done.append(f"{seed.stem}: ended (PID {pid})")
        shutil.rmtree(directory)
    return [*done, f"removed {directory}"]


def status(name: str) -> list[HostStatus]:
    """The state of each machine of the lab now. Raises `LabError` if there is no such lab."""
    lab = existing(name)
    machines = []
    for host, at in lab.hosts.items():
        pid = process.pid_of(lab.file(host, "pid"))
        seconds = process.seconds_up(pid) if pid else None
        now = "down" if pid is None else "up" if ssh.answers(at) else "starting"
        whole = None if seconds is None else int(seconds)
        machines.append(HostStatus(host, at.lan_address, at.ssh_port, at.memory_mb, pid, now, whole))
    return machines


def existing(name: str) -> Lab:
    """The lab called `name`. Raises `LabError` if there is none."""
    lab = state.read(name)
    if lab is None:
        raise LabError(f"there is no lab {name!r} here ({state.lab_directory(name)}): start it with `fleet lab up`")
    return lab
