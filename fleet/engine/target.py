"""Where a run is to go: to the release that the sources make, or back to one that is on the machines already."""

from __future__ import annotations

import os
from typing import Any

from pyinfra import logger
from pyinfra.context import inventory

from fleet.engine.run import FleetError, one_at_a_time, seen_by_host
from fleet.plan.plan import Plan
from fleet.rollout import lock, target
from fleet.rollout.target import Known
from fleet.spec.fleet import Host
from fleet.state import release
from fleet.state.release import Release
from roles import machine

_goal: list[Known] = []


def go_back(plan: Plan, wanted: str | None) -> None:
    """Make an earlier release this run's: the one named, or the last good one. Raises FleetError where there is none."""
    with one_at_a_time:
        if _goal:
            return
        broker = plan.fleet.broker_host
        try:
            runs = lock.read_history(broker, inventory.get_host(broker).data.dict())  # type: ignore[no-untyped-call]
            # What a drill has brought is nothing to go back to, but for the drill itself.
            real = [run for run in runs if not run.get("drill") or os.environ.get(lock.DRILL)]
            _goal.append(target.choose(real, wanted))
        except (lock.LockError, target.NoReleaseError) as error:
            raise FleetError(str(error)) from None
        logger.info(f"--> back to release {_goal[0]}")


def brought(plan: Plan) -> dict[str, Any]:
    """What the history keeps of the release that this run brings."""
    hosts = [one for name, one in plan.fleet.hosts.items() if name in seen_by_host and one.workers]
    ids = {machine.python(seen_by_host[one.name]): release_of(plan, one) for one in hosts}
    found = {python: one.id for python, one in ids.items()}
    return {"releases": found, "app": next(iter(ids.values())).app} if found else {}


def release_of(plan: Plan, one: Host) -> Release:
    """The release that a host should have. Raises FleetError where its Python is not known, or the earlier release is gone."""
    seen = seen_by_host[one.name]
    try:
        python = machine.python(seen)
    except ValueError as error:
        raise FleetError(f"{one.name}: {error}") from None
    if not _goal:
        return release.of(one.settings, plan.fleet.pools, python)
    goal = _goal[0]
    identity = dict(goal.ids).get(python)
    found = Release(identity, goal.app, ()) if identity else None
    if found is None or not found.is_built(seen):
        raise FleetError(
            f"{one.name}: release {goal} is not on this machine (any more): releases_kept is {one.settings.releases_kept}; "
            "deploy its source instead"
        )
    return found
