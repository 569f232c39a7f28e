"""The rollout, as pyinfra's operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyinfra import logger
from pyinfra.context import host
from pyinfra.operations import python, server

from fleet.engine import lock
from fleet.engine.apply import Hidden, changing, perform, phase, workers_of
from fleet.engine.run import FleetError, one_at_a_time, seen_by_host
from fleet.engine.target import release_of
from fleet.plan.instance import Instance, instances_on
from fleet.plan.plan import Plan
from fleet.rollout import preflight, result
from fleet.rollout import request as roll_step
from fleet.rollout.steps import Step, plan_steps
from fleet.spec.fleet import Host
from fleet.spec.text import enumerate_briefly
from fleet.state.desired import State
from fleet.state.diff import compare
from fleet.state.observed import ObservedMachine
from fleet.state.release import Release
from fleet.state.systemctl import activate

_steps: list[tuple[Step, ...]] = []
_expected: list[int] = []  # workers that should answer


def roll(plan: Plan, me: Host, found: Mapping[str, str], wanted: State, seen: ObservedMachine) -> None:
    """Declare the rollout: in steps that every host leaves together, so that one that fails leaves those after it untouched.

    Only workers that run something else than they should are restarted, by what runs and not by what was written: a rollout that
    was cut off is finished by the next.
    """
    with one_at_a_time:
        if not _steps:
            _steps.append(plan_steps(*_waiting(plan, found), plan))
            _expected.append(roll_step.up(plan, seen_by_host))
    mine = [one.unit for step in _steps[0] for one in step.instances if one.host == me.name]
    changes = compare(wanted, seen)
    for line in changes.describe():
        logger.info(f"{host.print_prefix}{line}")
    before, after = roll_step.around(changes, wanted, mine)
    perform(before)
    releases = dict.fromkeys(me.workers, release_of(plan, me)) if me.workers else {}
    if _steps[0] and me.workers:
        everyone = [one for step in _steps[0] for one in step.instances]
        preflight.check(plan, me, everyone[0], frozenset(one.role for one in everyone), release_of(plan, me), found)
    _declare(_steps[0], plan, me, releases, found, wanted)
    if targets := [name for name in changes.start if not name.endswith(".service")]:
        server.shell(name="Start services", commands=[activate("start", targets)])
    perform(after)


def restart(plan: Plan, me: Host, found: Mapping[str, str], role: str | None) -> None:
    """Declare that every running worker (of `role`, where one is named) is restarted as it is, in steps."""
    if role is not None and role not in plan.roles:
        raise FleetError(f"role: no role {role}; the roles are {', '.join(plan.roles)}")
    with one_at_a_time:
        if not _steps:
            running = [one for one in instances_on(plan, seen_by_host) if role in (None, one.role) and _runs(one)]
            _steps.append(plan_steps(running, (), plan))
            _expected.append(roll_step.up(plan, seen_by_host))
    _declare(_steps[0], plan, me, _running_releases(plan, me), found, None)


def _declare(
    steps: tuple[Step, ...],
    plan: Plan,
    me: Host,
    releases: Mapping[str, Release],
    found: Mapping[str, str],
    wanted: State | None,
) -> None:
    result.begin(steps, seen_by_host)
    for number, step in enumerate(host.loop(steps), 1):  # type: ignore[no-untyped-call]
        phase(name=f"Step {number} of {len(steps)}: {_described(step)}")
        mine = [one for one in step.instances if one.host == me.name]
        if mine:
            for one in mine:
                changing.append(host.name)
                lock.plans(str(one))
            release = releases[mine[0].role]
            told = roll_step.told(plan, me, seen_by_host, step, releases, found, wanted, _expected[0])
            # What fails here is judged when all hosts of the step are done, so that they go back together.
            done = server.shell(
                name="Drain, restart and watch workers",
                commands=[roll_step.command(release)],
                _stdin=Hidden(told),
                _ignore_errors=True,
                _timeout=roll_step.bound(plan, step),  # a machine that is gone says nothing
            )
            result.expect(step, me.name, done, release.id)
            python.call(
                name="Go on, or put the step back",
                function=_judge,
                step=step,
                plan=plan,
                keep=roll_step.keep(release),
                put_back=roll_step.command(release, "--put-back"),
            )


def _judge(state: Any, host: Any, step: Step, plan: Plan, keep: str, put_back: str) -> bool:
    """Whether all of the step is well; where it is not, what is well on this host is put back with the rest."""
    failed = result.failed(step)
    mine = result.of(step, host.name)
    for line in mine.lines:
        (logger.info if mine.ok else logger.error)(f"{host.print_prefix}{line}")
    if not failed:
        server.shell(name="Let go of the old files", commands=[keep], _timeout=roll_step.bound(plan, step))
        return True
    if mine.ok:
        logger.error(f"{host.print_prefix}well itself, and put back with {enumerate_briefly(failed)}")
        back = server.shell(
            name="Put back the old files and workers",
            commands=[put_back],
            _ignore_errors=True,
            _timeout=roll_step.bound(plan, step),
        )
        result.put_back(step, host.name, back.did_succeed())
    return False


def _running_releases(plan: Plan, me: Host) -> dict[str, Release]:
    """The release that each role of a host runs now, as far as it is known."""
    found = {}
    for role in me.workers:
        units = [unit for name, unit in seen_by_host[me.name].units.items() if name.startswith(f"celery-{role}@")]
        running = next((unit.release for unit in units if unit.active and unit.release), None)
        found[role] = Release(running, plan.fleet.settings.celery_app, ()) if running else release_of(plan, me)
    return found


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
    everyone = instances_on(plan, changes)
    return (
        [one for one in everyone if one.unit in changes[one.host].restart],
        [one for one in everyone if one.unit in changes[one.host].start],
    )


def _described(step: Step) -> str:
    waits = f" (others first, for {', '.join(step.bare)})" if step.bare else ""
    return ("canary: " if step.canary else "") + enumerate_briefly([str(one) for one in step.instances]) + waits
