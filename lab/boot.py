"""Boot the machines of a lab, all at once, until SSH answers and systemd is up on each."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lab import child, process, qemu, qmp, seed, ssh
from lab.console import last_lines
from lab.errors import LabError
from lab.interrupt import Stop
from lab.progress import Progress
from lab.state import Lab


@dataclass
class Boot:
    """One call of a lab command. `started` collects the pidfiles of the VMs that this call has started."""

    lab: Lab
    progress: Progress
    stop: Stop
    timeout: float
    accel: str
    started: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        """One deadline for all machines."""
        self.deadline = time.monotonic() + self.timeout

    def vm(self, name: str) -> qemu.Vm:
        """The VM of machine `name`."""
        host = self.lab.hosts[name]
        place = (self.lab.multicast, self.lab.directory, Path(self.lab.image), self.accel)
        return qemu.Vm(name, host.memory_mb, host.ssh_port, host.lan_address, *place)

    def each(self, work: Callable[[str], None], names: Sequence[str]) -> None:
        """Do `work` for all machines at once; then raise the errors, an interruption first."""

        def work_and_report(name: str) -> None:
            try:
                work(name)
            except LabError:
                self.progress.event(f"{name}: failed")  # the reason comes at the end: the other machines go on
                self.progress.doing(name, None)
                raise

        with ThreadPoolExecutor(max(1, len(names))) as pool:
            futures = [pool.submit(work_and_report, name) for name in names]
        errors = [error for future in futures if (error := future.exception())]
        for error in errors:
            if not isinstance(error, LabError):
                raise error
        if errors:
            raise LabError("\n".join(map(str, errors)))

    def start(self, name: str, *, fresh: bool = False) -> None:
        """Start machine `name`, unless it runs: on its disk, or on a new disk if `fresh` or never booted."""
        vm, disk = self.vm(name), self.lab.file(name, "qcow2")
        ready = self.lab.file(name, "ready")
        if process.pid_of(vm.pidfile):
            return
        if fresh or not ready.exists() or not disk.exists():
            ready.unlink(missing_ok=True)
            process.create_disk(disk, vm.image / "disk.raw")
        addresses = {other: host.lan_address for other, host in self.lab.hosts.items()}
        user_key = Path(f"{self.lab.key}.pub").read_text()
        host_key = self.lab.file(name, "host_key").read_text()
        self.lab.file(name, "seed").write_bytes(seed.seed_tar(name, addresses, user_key, host_key))
        self.stop.check()
        self.started.append(vm.pidfile)
        pid = process.start(vm)
        self.progress.event(f"{name}: started (PID {pid}, {vm.memory_mb} MB, {vm.accel.split(',')[0]})")
        self.progress.doing(name, "boots")

    def wait(self, name: str) -> None:
        """Wait until machine `name` answers and systemd has started all units; save its first such state for `reset`."""
        self.progress.doing(name, "boots")
        pid = process.pid_of(self.vm(name).pidfile)
        while not ssh.answers(self.lab.hosts[name]):
            self._check(name, pid)
            self.stop.sleep(0.3)
        self.progress.doing(name, "SSH answers, systemd still starts units")
        while True:
            status, printed = self.command(name, "systemctl is-system-running --wait")
            state = printed.strip().splitlines()[-1] if printed.strip() else ""
            if state in ("running", "degraded"):
                break
            self._check(name, pid, f"; systemctl is-system-running says {state!r} ({status})")
            self.stop.sleep(1)
        if state == "degraded":
            failed = self.command(name, "systemctl --failed --plain --no-legend")[1]
            self.progress.event(f"{name}: up, but systemd is degraded: {' '.join(failed.split())}")
        ready = self.lab.file(name, "ready")
        if not ready.exists():
            self.progress.doing(name, "keeps this state for reset")
            qmp.save(self.lab.directory, name)
            ready.touch()
        self.progress.doing(name, None)
        self.progress.event(f"{name}: up")

    def rewind(self, name: str) -> bool:
        """Put running machine `name` back to its saved state. False if it has to boot instead."""
        if not (self.lab.file(name, "ready").exists() and process.pid_of(self.vm(name).pidfile)):
            return False
        self.progress.doing(name, "goes back to its kept state")
        try:
            qmp.load(self.lab.directory, name)
            self.settle(name)
        except LabError as error:
            self.progress.event(f"{error}; boots from a fresh disk instead")
            return False
        self.progress.doing(name, None)
        self.progress.event(f"{name}: fresh")
        return True

    def settle(self, name: str) -> None:
        """Tell machine `name` the time, which stood still while it was saved, and the lab's other machines."""
        hosts = seed.etc_hosts({other: host.lan_address for other, host in self.lab.hosts.items()})
        script = f"sudo sh -c 'date -s @{time.time():.2f} >/dev/null && cat >/etc/hosts'"
        status, printed = self.command(name, script, stdin=hosts.encode())
        if status:
            raise LabError(f"{name}: cannot set its clock and /etc/hosts ({status}): {printed.strip()}")

    def command(self, name: str, script: str, stdin: bytes = b"") -> tuple[int, str]:
        """Run `script` in machine `name`'s shell: exit status (124: out of time) and output."""
        left = max(1.0, self.deadline - time.monotonic())
        return child.run(ssh.argv(self.lab, self.lab.hosts[name], [script]), self.stop, timeout=left, stdin=stdin)

    def end_started(self) -> None:
        """End every VM that this call has started."""
        with ThreadPoolExecutor(max(1, len(self.started))) as pool:
            list(pool.map(lambda pidfile: process.stop(pidfile, grace=3), self.started))

    def _check(self, name: str, pid: int | None, detail: str = "") -> None:
        if pid is None or not process.is_running(pid, self.vm(name).pidfile):
            log = last_lines(self.lab.file(name, "qemu.log")) or "  (nothing)"
            raise LabError(f"{name}: its QEMU ended; it said:\n{log}\n{self._console(name)}")
        if time.monotonic() > self.deadline:
            raise LabError(f"{name}: not up after {self.timeout:.0f} s{detail}\n{self._console(name)}")

    def _console(self, name: str) -> str:
        console = Path(self.lab.hosts[name].console)
        return f"its console log is {console}, the end of it:\n{last_lines(console) or '  (empty)'}"
