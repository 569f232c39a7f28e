"""The rollout, as pyinfra's operations."""

from __future__ import annotations

from collections.abc import Mapping

from pyinfra import logger
from pyinfra.context import host
from pyinfra.operations import server

from fleet import rollout
from fleet.plan import Plan
from fleet.rollout import Instance, Step
from fleet.spec import Host
from fleet.text import some
from roles import archive, locking, probe
from roles import roll as roll_step
from roles.apply import Hidden, changing, perform, phase, workers_of
from roles.diff import compare
from roles.state import State
from roles.survey import FleetError, one_at_a_time, seen_by_host
from roles.systemctl import activate

_steps: list[tuple[Step, ...]] = []


def roll(plan: Plan, me: Host, found: Mapping[str, str], wanted: State, seen: probe.Machine) -> None:
    """Declare the rollout: in steps that every host leaves together, so that one that fails leaves those after it untouched.

    Only workers that run something else than they should are restarted, by what runs and not by what was written: a rollout that
    was cut off is finished by the next.
    """
    with one_at_a_time:
        if not _steps:
            _steps.append(rollout.steps(*_waiting(plan, found), plan))
    steps = _steps[0]
    mine = [one.unit for step in steps for one in step.instances if one.host == me.name]
    changes = compare(wanted, seen)
    for line in changes.describe():
        logger.info(f"{host.print_prefix}{line}")
    perform(roll_step.besides(changes, wanted, mine))
    for number, step in enumerate(host.loop(steps), 1):  # type: ignore[no-untyped-call]
        phase(name=f"Step {number} of {len(steps)}: {_described(step)}")
        units = _declare(step)
        if units:
            entries = roll_step.files(wanted, units)
            server.shell(
                name="Restart workers",
                commands=[roll_step.command(units, entries, archive.UNPACK)],
                _stdin=Hidden(archive.as_text(archive.pack(entries))),
            )
    if targets := [name for name in changes.start if not name.endswith(".service")]:
        server.shell(name="Start services", commands=[activate("start", targets)])


def restart(plan: Plan, role: str | None) -> None:
    """Declare that every running worker (of `role`, where one is named) is restarted as it is, in steps."""
    if role is not None and role not in plan.roles:
        raise FleetError(f"role: no role {role}; the roles are {', '.join(plan.roles)}")
    with one_at_a_time:
        if not _steps:
            running = [one for one in rollout.instances(plan, seen_by_host) if role in (None, one.role) and _runs(one)]
            _steps.append(rollout.steps(running, (), plan))
    for number, step in enumerate(host.loop(_steps[0]), 1):  # type: ignore[no-untyped-call]
        phase(name=f"Step {number} of {len(_steps[0])}: {_described(step)}")
        units = _declare(step)
        if units:
            server.shell(name="Restart workers", commands=[roll_step.restart_command(units)])


def _declare(step: Step) -> list[str]:
    """Keep that this run restarts what the step has on this host, and return those units."""
    mine = [one for one in step.instances if one.host == host.name]
    for one in mine:
        changing.append(host.name)
        locking.plans(str(one))
    return [one.unit for one in mine]


def _runs(one: Instance) -> bool:
    unit = seen_by_host[one.host].units.get(one.unit)
    return unit is not None and unit.active


def _waiting(plan: Plan, found: Mapping[str, str]) -> tuple[list[Instance], list[Instance]]:
    """Who is to be restarted, and who is to be started, on all the hosts that were asked, in the inventory's order."""
    changes = {
        name: compare(workers_of(plan, one, found), seen_by_host[name])
        for name, one in plan.fleet.hosts.items()
        if name in seen_by_host and one.workers
    }
    everyone = rollout.instances(plan, changes)
    return (
        [one for one in everyone if one.unit in changes[one.host].restart],
        [one for one in everyone if one.unit in changes[one.host].start],
    )


def _described(step: Step) -> str:
    waits = f" ({', '.join(step.bare)} wait meanwhile)" if step.bare else ""
    return ("canary: " if step.canary else "") + some([str(one) for one in step.instances]) + waits
