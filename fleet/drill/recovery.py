"""Wait for a worker to be busy, for a fault to be over, and for the affected workers to be at work again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping

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


def seconds_until_all_started(
    entries: Iterable[Entry], nodes: Iterable[str], since: float, slots: Mapping[str, int] | None = None
) -> float | None:
    """Seconds from `since` until each of the nodes had started a task; None if one has not yet. slots: by node. One whose slots
    were all taken then could start none: its time counts from when one was free."""
    entries = sorted(entries, key=lambda entry: entry[2])
    seconds = [_until_started(entries, node, since, (slots or {}).get(node, math.inf)) for node in set(nodes)]
    known = [each for each in seconds if each is not None]
    return max(known) if len(known) == len(seconds) else None


def _until_started(entries: Iterable[Entry], node: str, since: float, slots: float) -> float | None:
    """entries: in the order of time."""
    running: set[int] = set()
    free_since: float | None = None
    for number, event, at, at_node in entries:
        if at_node != node:
            continue
        if at >= since and free_since is None and len(running) < slots:
            free_since = since
        if event == "start":
            if at >= since:
                return at - (at if free_since is None else free_since)
            running.add(number)
        else:
            running.discard(number)
            if at >= since and free_since is None and len(running) < slots:
                free_since = at
    return None


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


def wait_for_recovery(
    context: DrillContext, affected: Iterable[RunningWorker], ended: float, killed: bool = True
) -> float | None:
    """Wait until each affected worker has started a task. Returns the seconds since `ended`, as of seconds_until_all_started();
    None if one never did. killed: whether one of them was: then it is not known which of its tasks hold a slot."""
    deadline = time.monotonic() + PATIENCE
    affected = list(affected)
    nodes = {worker.node for worker in affected}
    slots = {worker.node: worker.slots for worker in affected} if not killed else {}
    while time.monotonic() < deadline:
        context.producer.check()
        seconds = seconds_until_all_started(context.producer.entries(), nodes, ended, slots)
        if seconds is not None:
            return seconds
        time.sleep(0.5)
    return None
