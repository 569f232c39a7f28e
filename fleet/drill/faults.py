"""The faults of `fleet drill`: each is sh for one machine, run there as root.

A fault that lasts is a transient unit of systemd's. It ends by itself and cleans up, even if the drill is killed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

UNIT = "fleet-drill"
"""The transient unit of a fault that lasts."""
AT_WORK = f"systemctl is-active {UNIT} || true"
"""sh that prints `active` while a fault that lasts goes on."""
LASTS = 60
"""Seconds of a fault that lasts."""


@dataclass(frozen=True)
class Target:
    """The place of a fault. unit: the worker's. broker: its addresses and ports for workers. folder: on the disk to fill.
    service: the broker's unit; empty if it is not ours."""

    unit: str
    broker: tuple[tuple[str, int], ...]
    folder: str
    service: str = ""


@dataclass(frozen=True)
class Fault:
    """One fault. action: what the drill does, in the imperative. at: what is affected. command: None if the drill itself acts.

    lasts: seconds; 0 if it is over at once. pools: those for which it means something; () for all.
    kills: what dies of it, with the tasks that it held: a worker, which systemd starts again at once, or its machine.
    """

    name: str
    action: str
    at: str  # "unit", "host" or "broker"
    command: Callable[[Target], str] | None
    lasts: int = 0
    pools: tuple[str, ...] = ()
    kills: Literal["worker", "machine"] | None = None


def _main(target: Target) -> str:
    return f"main=$(systemctl show --value --property=MainPID {shlex.quote(target.unit)}) && [ $main -gt 0 ]"


def _kill_child(target: Target) -> str:
    return f"{_main(target)} && pkill -KILL -P $main"


def _kill_worker(target: Target) -> str:
    return f"systemctl kill --kill-whom=all --signal=KILL {shlex.quote(target.unit)}"


def _stall(target: Target) -> str:
    return f"{_main(target)} && kill -STOP $main"


def _broker_restart(target: Target) -> str:
    return f"systemctl restart {target.service}"


def _broker_kill(target: Target) -> str:
    kill = f"systemctl kill --kill-whom=all --signal=KILL {target.service}"
    return for_a_while(f"{kill}; systemctl stop {target.service}", f"systemctl start {target.service}")


def _partition(target: Target) -> str:
    rules = [
        "add table inet fleet_drill",
        "add chain inet fleet_drill out { type filter hook output priority 0 ; }",
        "add chain inet fleet_drill in { type filter hook input priority 0 ; }",
    ]
    for address, port in target.broker:
        family = "ip6" if ":" in address else "ip"
        rules += [
            f"add rule inet fleet_drill out {family} daddr {address} tcp dport {port} drop",
            f"add rule inet fleet_drill in {family} saddr {address} tcp sport {port} drop",
        ]
    return for_a_while(f"nft {shlex.quote('; '.join(rules))}", "nft delete table inet fleet_drill")


def _disk_full(target: Target) -> str:
    file = shlex.quote(f"{target.folder}/fleet-drill.full")
    # fallocate takes most of the disk at once; dd takes the rest, to the last block.
    fill = f'fallocate -l "$(df --output=avail -B1 {shlex.quote(target.folder)} | tail -n 1)" {file}; dd if=/dev/zero bs=64k'
    return for_a_while(f"{fill} >>{file} 2>/dev/null; true", f"rm -f {file}")


def for_a_while(begin: str, end: str, seconds: int = LASTS) -> str:
    """sh that begins something, and has systemd end it after some seconds, or as the unit UNIT is stopped."""
    words = ["systemd-run", "--quiet", "--collect", f"--unit={UNIT}", f"--property=ExecStopPost=/bin/sh -c {shlex.quote(end)}"]
    return shlex.join([*words, "/bin/sh", "-c", f"{begin} && exec sleep {seconds}"])


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("kill-child", "kill the processes that run a worker's tasks (SIGKILL)", "unit", _kill_child, pools=("prefork",)),
        Fault("kill-worker", "kill a worker and all its processes (SIGKILL)", "unit", _kill_worker, kills="worker"),
        Fault("oom", "send a task that takes more memory than its worker may have", "unit", None, pools=("prefork",)),
        Fault("broker-restart", "restart the broker", "broker", _broker_restart),
        Fault("broker-kill", f"kill one of RabbitMQ's nodes (SIGKILL), which is away for {LASTS} s", "broker", _broker_kill),
        Fault("partition", f"cut the network between a worker and the broker for {LASTS} s", "host", _partition, lasts=LASTS),
        Fault("disk-full", f"fill the disk of a worker's machine for {LASTS} s", "host", _disk_full, lasts=LASTS),
        Fault("reboot", "reset a machine with workers, without a warning", "host", None, kills="machine"),
        Fault("stall", "stop a worker's process, which its watchdog has to notice", "unit", _stall, kills="worker"),
    )
}
