"""What one look at a fleet is in a recording (`fleet.observe.report.recording`). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from fleet.observe.broker import BrokerReport
from fleet.observe.machine import Machine, Unit
from fleet.observe.queues import Queue, Sample
from fleet.observe.workers import node_of
from fleet.plan.plan import Plan
from fleet_node.protocol import OTHER, WorkerSign

FAILURES = 50
"""The most kinds of failures in a sample; the others are counted together."""


def entry_of(
    at: float,
    plan: Plan,
    queues: Iterable[Queue],
    before: Sample | None,
    now: Sample,
    known: Mapping[str, Machine],
    machines: Mapping[str, Machine] | None,
) -> dict[str, Any]:
    """A line of a recording. at: seconds since 1970. before: the sample before, for what failed since then. known: machines as
    they were last seen, for their names. machines: those that were asked just now; None if none was."""
    entry: dict[str, Any] = {"t": round(at, 1), "q": {queue.name: _queue(queue) for queue in queues}}
    nodes = {
        instance: node_of(instance, known.get(instance.host), BrokerReport(answers=now.alive)) for instance in plan.instances
    }
    if now.alive or not now.problem:
        entry["w"] = dict.fromkeys(nodes.values()) | {node: _worker(sign) for node, sign in now.alive.items()}
    if failures := failed_between(before, now):
        entry["f"] = failures
    if machines is not None:
        units = {
            node: machines[instance.host].units.get(instance.unit)
            for instance, node in nodes.items()
            if instance.host in machines
        }
        memory = {node: _memory(now.alive.get(node), units.get(node)) for node in {**units, **now.alive}}
        entry["m"] = {node: values for node, values in memory.items() if values[0] is not None}
    return entry


def _memory(sign: WorkerSign | None, unit: Unit | None) -> list[int | None]:
    """Of a worker that says it itself, or of its unit."""
    if sign and sign.get("memory") is not None:
        return [sign.get("memory"), sign.get("memory_max"), sign.get("oom_kills")]
    return [unit.memory, unit.memory_max, unit.oom_kills] if unit else [None, None, None]


def _queue(queue: Queue) -> list[float | None]:
    oldest = queue.oldest
    return [
        queue.waiting,
        _short(oldest.least if oldest else None),
        _short(oldest.most if oldest else None),
        queue.running,
        queue.prefetched,
        queue.eta,
        queue.orphaned,
        queue.consumers,
        _short(queue.in_s),
        _short(queue.out_s),
        queue.dead_letters,
    ]


def _worker(sign: WorkerSign) -> list[float]:
    return [sum(sign["running"].values()), sign["slots"], int(sign["started_at"])]


def _short(value: float | None) -> float | None:
    """As few characters as it takes."""
    if value is None:
        return None
    rounded = round(value, 2 if value < 10 else 1)
    return int(rounded) if rounded == int(rounded) else rounded


def failed_between(before: Sample | None, now: Sample) -> list[list[Any]]:
    """[queue, task, exception, number] of tasks that failed between two samples, by workers that answered both times."""
    if before is None:
        return []
    failures = Counter[tuple[str, str, str]]()
    for node in before.answers.keys() & now.answers.keys():
        then, since = before.answers[node], now.answers[node]
        failures.update(_failed(since))
        if abs(then["started_at"] - since["started_at"]) < 1:  # else it has counted from zero
            failures.subtract(_failed(then))
    kinds = [(*kind, number) for kind, number in failures.most_common() if number > 0]
    listed = [list(kind) for kind in kinds[:FAILURES]]
    if rest := sum(kind[3] for kind in kinds[FAILURES:]):
        listed.append([OTHER, OTHER, OTHER, rest])
    return listed


def _failed(sign: WorkerSign) -> Counter[tuple[str, str, str]]:
    return Counter(
        {
            (entry["queue"], entry["task"], exception): number
            for entry in sign["tasks"]
            for exception, number in entry.get("failed", {}).items()
        }
    )
