"""Whether a release has every task that waits for it: what it has not, its workers would park."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyinfra import logger
from pyinfra.context import host
from pyinfra.operations import python, server

from fleet.engine.apply import Hidden
from fleet.engine.run import tell_line
from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.spec.fleet import Host
from fleet.state import release
from fleet.state.release import Release
from roles import worker

MARK = "fleet-tasks: "


def check(plan: Plan, me: Host, first: Instance, roles: frozenset[str], new: Release, found: Mapping[str, str]) -> None:
    """Declare, for the host of `first` alone, that a rollout of `roles` does not begin where a task that waits in their queues,
    or that one of their workers holds, is not the new release's.
    """
    if first.host != me.name:
        return
    queues = sorted({queue for role in roles for queue in plan.roles[role][0].sized.worker.queues})
    variables = worker.environment(plan, me, first.role, found)
    asked = server.shell(
        name="Look for tasks that the release does not have",
        commands=[release.unregistered_command(new, queues)],
        _stdin=Hidden("".join(f"{name}={value}\n" for name, value in variables.items())),
        _timeout=300,
    )
    given = host.data.get("discard_tasks") or ""
    python.call(
        name="Check that no task would be parked",
        function=_judge,
        asked=asked,
        discarded=frozenset(name.strip() for name in str(given).split(",") if name.strip()),
    )


def _judge(state: Any, host: Any, asked: Any, discarded: frozenset[str]) -> bool:
    marked = [line for line in asked.stdout.splitlines() if line.startswith(MARK)]
    said = json.loads(marked[-1].removeprefix(MARK))
    refused = []
    for queue, tasks in sorted(said["unregistered"].items()):
        for name, number in sorted(tasks.items()):
            line = f"{number} × {name} in {queue}"
            if name in discarded:
                tell_line(f"to be parked, as discard_tasks says: {line}")
            else:
                refused.append((name, line))
    if left := said["not_looked_at"]:
        tell_line(
            f"{left} waiting tasks were not looked at ({said['looked_at']} were): whether this release has them is not known"
        )
    if refused:
        names = ",".join(sorted({name for name, _ in refused}))
        logger.error(
            f"{host.print_prefix}waiting, and none of this release's tasks, so that its workers would park them: "
            f"{'; '.join(line for _, line in refused)}. Deploy a release that has them, or let them run out first, "
            f"or say that they may be: --data discard_tasks={names}"
        )
    return not refused
