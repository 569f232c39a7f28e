"""Wait for a worker to be busy, for a fault to be over, and for the affected workers to be at work again."""

from __future__ import annotations

import time
from collections.abc import Iterable

from fleet.drill import faults
from fleet.drill.context import DrillContext, RunningWorker
from fleet.drill.errors import DrillError
from fleet.drill.faults import Fault
from fleet.drill.ledger import Entry, Sent
from fleet.plan.plan import Placement

PATIENCE = 300.0
"""Seconds to wait for a fault to end, or for a worker to be back."""
BUSY_PATIENCE = 60.0
"""Seconds to wait until the worker has a long task."""
REBOOT_SECONDS = 60
"""Seconds after which a machine that answers counts as rebooted, even if it was never seen down."""


def running_tasks(sent: Iterable[Sent], entries: Iterable[Entry], node: str, kind: str) -> set[int]:
    """Numbers of the tasks of one kind that a node has started and not ended."""
    of_kind = {task.number for task in sent if task.kind == kind}
    running: set[int] = set()
    for number, event, _, at_node in entries:
        if at_node == node and number in of_kind:
            running.add(number) if event == "start" else running.discard(number)
    return running


def seconds_until_all_started(entries: Iterable[Entry], nodes: Iterable[str], since: float) -> float | None:
    """Seconds from `since` until each of the nodes had started a task; None if one has not yet."""
    first: dict[str, float] = {}
    for _, event, at, node in entries:
        if event == "start" and at >= since:
            first[node] = min(at, first.get(node, at))
    names = set(nodes)
    return max(first[node] for node in names) - since if names <= set(first) else None


def seconds_until_all_begun_again(entries: Iterable[Entry], since: float) -> float | None:
    """Seconds from `since` until the last of the tasks that ran then and began again had done so; None if none began again."""
    running: set[int] = set()
    again: dict[int, float] = {}
    for number, event, at, _ in sorted(entries, key=lambda entry: entry[2]):
        if at < since:
            running.add(number) if event == "start" else running.discard(number)
        elif event == "start" and number in running:
            again.setdefault(number, at)
    return max(again.values()) - since if again else None


def wait_until_busy(context: DrillContext, worker: RunningWorker) -> None:
    """Wait until the worker runs a long task of the drill, but not for ever: a fault of an idle worker shows little."""
    deadline = time.monotonic() + BUSY_PATIENCE
    while time.monotonic() < deadline:
        context.producer.check()
        if running_tasks(context.producer.sent, context.producer.entries(), worker.node, "long"):
            return
        time.sleep(0.2)


def wait_until_over(
    fault: Fault, context: DrillContext, placement: Placement, target: RunningWorker, pid: str | None, began: float
) -> float:
    """Wait until the fault is over. pid: the target's main process before. Returns the time, in seconds of Redis' clock.

    Raises DrillError if that takes too long.
    """
    notice = placement.worker.stall_seconds or 0 if fault.name == "stall" else 0
    deadline = time.monotonic() + PATIENCE + notice
    was_down = False
    while time.monotonic() < deadline:
        context.producer.check()
        if fault.lasts:
            if context.ask(target.host, faults.AT_WORK).strip() != "active":
                return context.producer.now()
        elif fault.name == "stall":
            if context.processes([target]).get(target, "0") not in ("0", pid):
                return context.producer.now()
        elif fault.name == "reboot":
            answers = context.answers(target.host)
            if was_down and answers:
                return context.producer.now()
            was_down = was_down or not answers or context.producer.now() - began > REBOOT_SECONDS
        else:
            return context.producer.now()
        time.sleep(0.5)
    raise DrillError(f"{fault.name}: not over after {PATIENCE:.0f} s")


def wait_for_recovery(context: DrillContext, affected: Iterable[RunningWorker], ended: float) -> float | None:
    """Wait until each affected worker has started a task. Returns the seconds since `ended`; None if one never did."""
    deadline = time.monotonic() + PATIENCE
    nodes = {worker.node for worker in affected}
    while time.monotonic() < deadline:
        context.producer.check()
        seconds = seconds_until_all_started(context.producer.entries(), nodes, ended)
        if seconds is not None:
            return seconds
        time.sleep(0.5)
    return None
