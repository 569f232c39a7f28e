"""Whether a release has every task that waits for it: its workers would park the others. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.plan.instance import Instance
from fleet_node.protocol import TASKS_MARK, UnregisteredTasks


@dataclass(frozen=True)
class Preflight:
    """What the look into the queues came to. error: why the rollout must not begin, or None. notes: for the end of the run."""

    error: str | None
    notes: tuple[str, ...] = ()


def queues_of(instances: Iterable[Instance]) -> list[str]:
    """The queues that these instances consume, each as it holds on its own host, sorted."""
    return sorted({queue for instance in instances for queue in instance.queues})


def discarded_tasks(given: object) -> frozenset[str]:
    """The names in `--data discard_tasks=NAME,NAME`; none if it is not given."""
    return frozenset(name.strip() for name in str(given or "").split(",") if name.strip())


def parse(output: Sequence[str]) -> UnregisteredTasks:
    """The report in the output of `fleet_node.app.unregistered`. Raises ValueError if there is none."""
    marked = [line.removeprefix(TASKS_MARK) for line in output if line.startswith(TASKS_MARK)]
    if not marked:
        raise ValueError("no report of unregistered tasks")
    report: UnregisteredTasks = json.loads(marked[-1])
    return report


def judge(report: UnregisteredTasks, discarded: frozenset[str]) -> Preflight:
    """Whether the rollout may begin. discarded: tasks that may be parked."""
    refused: list[tuple[str, str]] = []
    notes = []
    for queue, tasks in sorted(report["unregistered"].items()):
        for name, number in sorted(tasks.items()):
            line = f"{number} × {name} in {queue}"
            if name in discarded:
                notes.append(f"to be parked, as discard_tasks says: {line}")
            else:
                refused.append((name, line))
    if left := report["not_looked_at"]:
        notes.append(
            f"{left} waiting tasks were not looked at ({report['looked_at']} were): whether this release has them is not known"
        )
    if not refused:
        return Preflight(None, tuple(notes))
    names = ",".join(sorted({name for name, _ in refused}))
    error = (
        "waiting, and none of this release's tasks, so that its workers would park them: "
        f"{'; '.join(line for _, line in refused)}. Deploy a release that has them, or let them run out first, "
        f"or say that they may be: --data discard_tasks={names}"
    )
    return Preflight(error, tuple(notes))
