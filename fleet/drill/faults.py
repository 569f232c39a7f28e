"""What `fleet drill` breaks: each fault as sh for one machine, run there as root. What lasts ends by itself, whoever started it
being gone or not: it is a transient unit of systemd's, which cleans up however it ends.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

UNIT = "fleet-drill"
"""The transient unit of a fault that lasts."""
AT_WORK = f"systemctl is-active {UNIT} || true"
"""sh that says `active` as long as a fault that lasts does."""
LASTS = 60
"""Seconds of a fault that lasts."""


@dataclass(frozen=True)
class Target:
    """Where a fault goes. unit: one worker's. broker: address and port of Redis as workers reach it."""

    unit: str
    broker: tuple[str, int]
    folder: str


@dataclass(frozen=True)
class Fault:
    """One fault. does: for the user, what happens. at: whom it befalls. command: None where the drill does it another way.

    lasts: seconds; 0 where it is over at once. pools: those that it means anything for; () for all.
    kills: whether a worker dies by it: it has to start, and what it held comes back after the visibility timeout and no sooner.
    """

    name: str
    does: str
    at: str  # "unit", "host" or "broker"
    command: Callable[[Target], str] | None
    lasts: int = 0
    pools: tuple[str, ...] = ()
    kills: bool = False


def _main(target: Target) -> str:
    return f"main=$(systemctl show --value --property=MainPID {shlex.quote(target.unit)}) && [ $main -gt 0 ]"


def _kill_child(target: Target) -> str:
    return f"{_main(target)} && pkill -KILL -P $main"


def _kill_worker(target: Target) -> str:
    return f"systemctl kill --kill-whom=all --signal=KILL {shlex.quote(target.unit)}"


def _stall(target: Target) -> str:
    return f"{_main(target)} && kill -STOP $main"


def _broker_restart(_: Target) -> str:
    return "systemctl restart redis-server"


def _partition(target: Target) -> str:
    address, port = target.broker
    family = "ip6" if ":" in address else "ip"
    rules = (
        "add table inet fleet_drill; "
        "add chain inet fleet_drill out { type filter hook output priority 0 ; }; "
        "add chain inet fleet_drill in { type filter hook input priority 0 ; }; "
        f"add rule inet fleet_drill out {family} daddr {address} tcp dport {port} drop; "
        f"add rule inet fleet_drill in {family} saddr {address} tcp sport {port} drop"
    )
    return _for_a_while(f"nft {shlex.quote(rules)}", "nft delete table inet fleet_drill")


def _disk_full(target: Target) -> str:
    file = shlex.quote(f"{target.folder}/fleet-drill.full")
    # What fallocate cannot take at once, dd takes to the last block.
    fill = f'fallocate -l "$(df --output=avail -B1 {shlex.quote(target.folder)} | tail -n 1)" {file}; dd if=/dev/zero bs=64k'
    return _for_a_while(f"{fill} >>{file} 2>/dev/null; true", f"rm -f {file}")


def _for_a_while(begin: str, end: str) -> str:
    words = ["systemd-run", "--quiet", "--collect", f"--unit={UNIT}", f"--property=ExecStopPost=/bin/sh -c {shlex.quote(end)}"]
    return shlex.join([*words, "/bin/sh", "-c", f"{begin} && exec sleep {LASTS}"])


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("kill-child", "kills the processes that run a worker's tasks (SIGKILL)", "unit", _kill_child, pools=("prefork",)),
        Fault("kill-worker", "kills a worker and all its processes (SIGKILL)", "unit", _kill_worker, kills=True),
        Fault("oom", "sends a task that takes more memory than its worker may have", "unit", None, pools=("prefork",)),
        Fault("broker-restart", "restarts Redis", "broker", _broker_restart),
        Fault("partition", f"cuts the network between a worker and the broker for {LASTS} s", "host", _partition, lasts=LASTS),
        Fault("disk-full", f"fills the disk of a worker's machine for {LASTS} s", "host", _disk_full, lasts=LASTS),
        Fault("reboot", "resets a machine with workers, without a warning", "host", None, kills=True),
        Fault("stall", "stops a worker's process, which its watchdog has to find", "unit", _stall, kills=True),
    )
}
