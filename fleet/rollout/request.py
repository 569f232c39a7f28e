"""One step of a rollout on one machine: what `fleet_node.step` is told there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.rollout.steps import Step, min_consumers_of
from fleet.spec.fleet import Host
from fleet.spec.worker import Worker
from fleet.state import archive
from fleet.state.desired import Entry, State
from fleet.state.diff import UNIT_FOLDER, Changes
from fleet.state.observed import ObservedMachine
from fleet.state.release import Release
from roles import worker
from roles.machine import HOME, USER

LOOK = 5
"""Seconds that workers have to say what they consume."""
ANSWER = 30
"""Seconds that a worker that came up has to answer, and a probe task to come back."""
START = 120
"""Seconds until a worker has to be ready (TimeoutStartSec)."""


def files(wanted: State, units: Iterable[str]) -> tuple[Entry, ...]:
    """The unit files of these units, and the environments of their roles: what changes with them, and not before."""
    paths = {UNIT_FOLDER + unit for unit in units}
    paths |= {worker.env_path(_role(unit)) for unit in units}
    return tuple(entry for entry in wanted.entries if entry.path in paths)


def around(changes: Changes, wanted: State, units: Iterable[str]) -> tuple[Changes, Changes]:
    """What is to be done before the steps that bring `units` up, and after: workers that are no longer wanted end when those that
    are wanted run."""
    theirs = {entry.path for entry in files(wanted, tuple(units))}
    write = tuple(entry for entry in changes.write if entry.path not in theirs)
    before = replace(changes, write=write, start=(), restart=(), stop=(), remove=())
    after = Changes(stop=changes.stop, remove=changes.remove, reload=bool(changes.remove))
    return before, after


def told(
    plan: Plan,
    me: Host,
    seen: Mapping[str, ObservedMachine],
    step: Step,
    releases: Mapping[str, Release],
    secrets: Mapping[str, str],
    wanted: State | None,
    expected: int,
) -> str:
    """The JSON that `fleet_node.step` reads, for what `step` has on this host. It holds secrets.

    seen: what was seen of every host. releases: role → the release that its workers are to run, or to go on running. wanted: the
    state that they are brought to; None where they are restarted as they are. expected: see up().
    """
    mine = [one for one in step.instances if one.host == me.name]
    entries = files(wanted, [one.unit for one in mine]) if wanted is not None else ()
    environments = {worker.env_path(one.role) for one in mine}
    revisions = {unit.name: unit.revision for unit in wanted.units} if wanted is not None else {}
    roles = sorted({one.role for one in mine})
    return json.dumps(
        {
            "archive": archive.as_text(archive.pack(entries)),
            "envs": [entry.path for entry in entries if entry.path in environments],
            "files": [entry.path for entry in entries if entry.path not in environments],
            "timeout": bound(plan, step),
            "units": {one.unit: _unit(plan, me, seen, one, releases, revisions) for one in mine},
            "gates": {role: _gate(plan, me, role, step, releases[role], secrets, expected) for role in roles},
            "going": [_node(seen, one) for one in step.instances],
            "keep": {queue: min_consumers_of(plan, queue) for one in mine for queue in _of(plan, one.role).queues},
            "canary": step.canary,
            "restart": wanted is None,
        }
    )


def bound(plan: Plan, step: Step) -> int:
    """Seconds after which a step is over on every machine, if the machine is there: a second instance up, watched and later
    drained, the worker drained in two phases, started and watched, and all of it back again."""
    stop = max(_of(plan, one.role).longest_stop for one in step.instances)
    settle = max(max(_of(plan, one.role).settle, _of(plan, one.role).canary_settle) for one in step.instances)
    return 4 * (2 * stop + START + settle + 20 * ANSWER)


def _unit(
    plan: Plan,
    me: Host,
    seen: Mapping[str, ObservedMachine],
    one: Instance,
    releases: Mapping[str, Release],
    revisions: Mapping[str, str | None],
) -> dict[str, Any]:
    name, text = worker.surge(plan, me, one.role, one.number, releases[one.role])
    return {
        "role": one.role,
        "node": _node(seen, one),
        "queues": list(dict.fromkeys(_of(plan, one.role).queues)),
        "revision": revisions.get(one.unit),
        "need": plan.workers[me.name][one.role].expected,
        "surge": {"unit": name, "node": worker.node(one.role, f"{one.number}-surge", _called(seen, me.name)), "text": text},
    }


def _gate(
    plan: Plan,
    me: Host,
    role: str,
    step: Step,
    release: Release,
    secrets: Mapping[str, str],
    expected: int,
) -> dict[str, Any]:
    settings = _of(plan, role)
    # A solo worker answers between two tasks alone.
    patience = ANSWER + (settings.time_limit if settings.pool == "solo" else 0)
    return {
        "command": [f"{release.path}/venv/bin/python", "-m", "fleet_node.gate"],
        "user": USER,
        "folder": HOME,
        "base": {"PATH": "/usr/bin:/bin", "HOME": HOME, "LANG": "C.UTF-8", "PYTHONPATH": release.python_path},
        "environment": worker.environment(plan, me, role, secrets),
        "ask": {
            "expected": expected,
            "app": release.app,
            "look": LOOK,
            "settle": settings.canary_settle if step.canary else settings.settle,
            "patience": patience,
        },
    }


def up(plan: Plan, seen: Mapping[str, ObservedMachine]) -> int:
    """How many workers should answer: those that ran when the run began, and of hosts that it does not touch all."""
    return sum(
        one.host not in seen or bool((unit := seen[one.host].units.get(f"celery-{one.role}@{number}.service")) and unit.active)
        for one, number in plan.instances
    )


def _of(plan: Plan, role: str) -> Worker:
    return plan.roles[role][0].sized.worker


def _called(seen: Mapping[str, ObservedMachine], host: str) -> str:
    """What a machine calls itself, and Celery its workers."""
    return seen[host].hostname or host


def _node(seen: Mapping[str, ObservedMachine], one: Instance) -> str:
    return worker.node(one.role, one.number, _called(seen, one.host))


def _role(unit: str) -> str:
    return unit.removeprefix("celery-").partition("@")[0]


def keep(release: Release) -> str:
    """sh that lets go of the old files, and ends second instances."""
    # Python only where there is one: it takes its time to start.
    surges = "ls /run/systemd/system/celery-*-surge.service >/dev/null 2>&1"
    return f"rm -f /var/lib/fleet/before.*; if {surges}; then {command(release, '--keep')}; fi"


def command(release: Release, option: str = "") -> str:
    """sh that does what told() says, on stdin. With an option, see fleet_node.step."""
    # -P: no module of whatever directory we are in. Nothing of the app's runs as root.
    environment = f"PYTHONPATH={release.path}/node PYTHONDONTWRITEBYTECODE=1"
    return f"cd / && {environment} /usr/bin/python3 -sP -m fleet_node.step {option}".rstrip()
