"""Do a fault: by sh on a machine, by a task that takes too much memory, or by the reset of a machine."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from fleet.drill.broker import broker_place, service_of
from fleet.drill.context import DrillContext, RunningWorker
from fleet.drill.faults import Fault, Target
from fleet.plan.plan import Placement
from fleet.rollout import lock

PARKING_SECONDS = 300.0
"""Seconds to wait until the task that takes too much memory is parked."""
COMMAND_SECONDS = 300.0
"""Seconds for a fault's command: a RabbitMQ may take minutes to restart."""


def inject(fault: Fault, context: DrillContext, target: RunningWorker, placement: Placement) -> bool | None:
    """Do the fault. For a task that is to be parked, returns whether it was; else None."""
    if fault.name == "oom":
        return _exhaust_memory(context, placement)
    if fault.name == "reboot":
        _reset(context, target.host)
        return None
    assert fault.command  # noqa: S101 - every other fault has one
    fleet = context.plan.fleet
    command = fault.command(Target(target.unit, context.addresses, f"/var/lib/celery/{placement.role}", service_of(fleet)))
    context.ask(broker_place(fault, fleet) or target.host, command, COMMAND_SECONDS)
    return None


def _exhaust_memory(context: DrillContext, placement: Placement) -> bool:
    """Send a task that takes all memory of its worker. Returns whether it was parked; then it is dropped."""
    task = context.producer.send_aside("memory", float(placement.sized.memory_max), placement.worker.queues[0])
    deadline = time.monotonic() + PARKING_SECONDS
    while time.monotonic() < deadline:
        context.producer.check()
        with context.broker() as broker:
            if letters := [letter for letter in broker.letters() if letter["id"] == task]:
                context.say(f"parked: {letters[0]['reason']}")
                broker.drop(letters)  # the drill's own: no user has to look after it
                return True
        time.sleep(1)
    return False


def _reset(context: DrillContext, host: str) -> None:
    """Reset a machine of the lab by its QEMU, and any other by its kernel, which writes nothing to disk before."""
    from lab import qmp

    key = Path(str(context.hosts[host].get("ssh_key") or "."))
    if (key.parent / f"{host}.qmp").exists():
        qmp.reset(key.parent, host)
        return
    with suppress(lock.LockError):
        context.ask(host, "echo 1 >/proc/sys/kernel/sysrq; (sleep 1; echo b >/proc/sysrq-trigger) & exit 0")
