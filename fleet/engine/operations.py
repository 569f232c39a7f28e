"""The rollout, as pyinfra's operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyinfra import logger
from pyinfra.context import host
from pyinfra.operations import python, server

from fleet.engine import hooks
from fleet.engine.apply import Hidden, describe, perform, phase, report_error
from fleet.engine.progress import CHECK_STEP
from fleet.engine.refusal import refusing
from fleet.engine.run import Rollout, Run
from fleet.errors import FleetError
from fleet.plan import process
from fleet.plan.instance import Instance
from fleet.rollout import preflight, request
from fleet.rollout.steps import Step, outdated, plan_steps
from fleet.spec.fleet import Host
from fleet.spec.groups import BEAT
from fleet.spec.text import enumerate_briefly
from fleet.state import release
from fleet.state.desired import State
from fleet.state.diff import Changes, compare
from fleet.state.release import Release
from fleet.state.role import WorkerRole
from fleet.state.systemctl import activate


def roll_out(run: Run, role: WorkerRole) -> None:
    """Declare the rollout: in steps that every host leaves together, so that one that fails leaves those after it untouched.

    Only workers that run something else than they should are restarted, by what runs and not by what was written: a rollout that
    was cut off is finished by the next.
    """
    with run.preparing, refusing():
        if run.rollout is None:
            asked = (name for name, spec in run.fleet.hosts.items() if name in run.observed and spec.workers)
            run.plan_rollout(plan_steps(*outdated(run.plan, {name: _changes(run, role, name) for name in asked}), run.plan))
        rollout = run.rollout
        assert rollout is not None  # noqa: S101 - just planned
        local = run.fleet.hosts[host.name]
        releases = dict.fromkeys(local.workers, run.release_of(local)) if local.workers else {}
        desired, changes = run.desired(role, local), _changes(run, role, local.name)
    describe(changes)
    if changes:
        run.changed.add(host.name)
    everyone = [instance for step in rollout.steps for instance in step.instances]
    before, after = request.around(changes, desired, [instance for instance in everyone if instance.host == local.name])
    perform(before)
    is_first = bool(everyone) and everyone[0].host == local.name
    before_rollout, after_rollout = (local.settings.hooks.before_rollout, local.settings.hooks.after_rollout)
    if is_first:
        _check_tasks(run, local, everyone, run.release_of(local))
        if before_rollout and run.target is None:
            hooks.on_machine(run, local, everyone[0], "before_rollout", before_rollout)
    _declare(run, role, rollout, local, releases, desired)
    if targets := [name for name in changes.start if not name.endswith(".service")]:
        server.shell(name="Start services", commands=[activate("start", targets)])
    perform(after)
    if after_rollout and everyone and run.target is None:
        phase(name="After the rollout")
        if is_first:
            hooks.on_machine(run, local, everyone[0], "after_rollout", after_rollout)


def restart(run: Run, role: WorkerRole, name: str | None) -> None:
    """Declare that every running worker (of the role `name`, if one is named) is restarted as it is, in steps."""
    with run.preparing, refusing():
        if name is not None and name not in run.plan.roles and not (name == BEAT and run.fleet.beat_hosts):
            raise FleetError(f"role: no role {name}; the roles are {', '.join(run.plan.roles)}")
        if run.rollout is None:
            running = [
                instance
                for instance in run.plan.instances_on(run.observed)
                if name in (None, instance.role) and request.is_up(run.observed, instance)
            ]
            run.plan_rollout(plan_steps(running, (), run.plan))
        rollout = run.rollout
        assert rollout is not None  # noqa: S101 - just planned
        local = run.fleet.hosts[host.name]
        releases = run.running_releases(local)
        if len({release.protocol for release in releases.values()}) > 1:
            raise FleetError(
                f"{local.name}: its workers run releases of two versions of celery-fleet: finish deploy.py or rollback.py first"
            )
    _declare(run, role, rollout, local, releases, None)


def _changes(run: Run, role: WorkerRole, name: str) -> Changes:
    return compare(run.desired(role, run.fleet.hosts[name]), run.observed[name])


def _check_tasks(run: Run, local: Host, everyone: list[Instance], new: Release) -> None:
    """Declare that the rollout does not begin if a task that waits in its queues, or that a worker holds, is unknown to the new
    release. One host asks for all."""
    variables = process.environment(run.plan, local, everyone[0].role, run.secrets)
    asked = server.shell(
        name="Look for tasks that the release does not have",
        commands=[release.unregistered_command(new, preflight.queues_of(everyone))],
        _stdin=Hidden(process.as_lines(variables)),
        _timeout=300,
    )
    discarded = preflight.names_in(host.data.get("discard_tasks"))
    python.call(name="Check that no task would be parked", function=_judge_tasks, run=run, asked=asked, discarded=discarded)


def _judge_tasks(state: Any, host: Any, run: Run, asked: Any, discarded: frozenset[str]) -> bool:
    verdict = preflight.judge(preflight.parse(asked.stdout.splitlines()), discarded)
    run.notes.update(dict.fromkeys(verdict.notes))
    if verdict.error:
        report_error(run, host, verdict.error)
    return verdict.error is None


def _declare(
    run: Run, role: WorkerRole, rollout: Rollout, local: Host, releases: Mapping[str, Release], desired: State | None
) -> None:
    for number, step in enumerate(host.loop(rollout.steps), 1):  # type: ignore[no-untyped-call]
        phase(name=f"Step {number} of {len(rollout.steps)}: {step}")
        instances = [instance for instance in step.instances if instance.host == local.name]
        if instances:
            run.changed.add(local.name)
            run.planned.update(dict.fromkeys(map(str, instances)))
            target = releases[instances[0].role]
            # What fails here is judged when all hosts of the step are done, so that they go back together.
            done = server.shell(
                name="Drain, restart and watch workers",
                commands=[request.command(target)],
                _stdin=Hidden(request.build(run, role, local, step, releases, desired, rollout.expected)),
                _ignore_errors=True,
                _timeout=request.bound(step),  # a machine that is gone says nothing
            )
            run.pending[step, local.name] = done
            rollout.results.expect(step, local.name, target.id)
            python.call(
                name=CHECK_STEP,
                function=_judge_step,
                run=run,
                step=step,
                commit=request.commit_command(target),
                put_back=request.command(target, "--put-back"),
            )


def _judge_step(state: Any, host: Any, run: Run, step: Step, commit: str, put_back: str) -> bool:
    """Whether all of the step is well. If not, what is well on this host is put back with the rest."""
    assert run.rollout is not None  # noqa: S101 - it declared this operation
    results = run.rollout.results
    run.collect(step)
    failed, local = results.failed_hosts(step), results.of(step, host.name)
    assert local is not None  # noqa: S101 - it was just collected
    for line in local.lines:
        (logger.info if local.ok else logger.error)(f"{host.print_prefix}{line}")
    if not failed:
        server.shell(name="Commit the step", commands=[commit], _timeout=request.bound(step))
        return True
    if local.ok:
        logger.error(f"{host.print_prefix}well itself, and put back with {enumerate_briefly(failed)}")
        back = server.shell(
            name="Put back the old files and workers",
            commands=[put_back],
            _ignore_errors=True,
            _timeout=request.bound(step),
        )
        results.record_put_back(step, host.name, back.did_succeed())
    return False
