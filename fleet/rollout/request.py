"""One step of a rollout on one machine: the request that `fleet_node.step` reads there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fleet.plan import process
from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.rollout import legacy
from fleet.rollout.steps import Step
from fleet.spec.fleet import Host
from fleet.state import archive
from fleet.state.desired import Entry, State
from fleet.state.diff import Changes
from fleet.state.observed import ObservedMachine
from fleet.state.paths import ETC, HOME, RUNTIME_UNITS, UNITS, USER
from fleet.state.release import Release
from fleet.state.role import RunView, WorkerRole
from fleet_node.protocol import SNAPSHOT, STATE_FOLDER, GateRequest, StepRequest, UnitRequest

LOOK = 5
"""Seconds that workers have to report what they consume."""
ANSWER = 30
"""Seconds that a worker that came up has to answer, and a probe task to come back."""


def files_of(desired: State, instances: Iterable[Instance]) -> tuple[Entry, ...]:
    """The unit files of these instances, and the environments of their roles: what changes with them, and not before."""
    paths = {path for instance in instances for path in (f"{UNITS}/{instance.unit}", env_path(instance.role))}
    return tuple(entry for entry in desired.entries if entry.path in paths)


def env_path(role: str) -> str:
    """The file that holds a role's environment on a machine."""
    return f"{ETC}/{role}.env"


def around(changes: Changes, desired: State, instances: Iterable[Instance]) -> tuple[Changes, Changes]:
    """The changes before the steps that bring these instances up, and those after: workers that were removed end when their
    successors run."""
    in_steps = {entry.path for entry in files_of(desired, instances)}
    write = tuple(entry for entry in changes.write if entry.path not in in_steps)
    before = replace(changes, write=write, start=(), restart=(), stop=(), remove=())
    after = Changes(stop=changes.stop, remove=changes.remove, reload=bool(changes.remove))
    return before, after


def build(
    run: RunView,
    role: WorkerRole,
    host: Host,
    step: Step,
    releases: Mapping[str, Release],
    desired: State | None,
    expected: int,
) -> str:
    """The JSON that `fleet_node.step` reads (StepRequest), for what `step` has on this host. It holds secrets.

    releases: role → the release that its workers are to run, or to go on running. desired: the state that they are brought to;
    None if they are restarted as they are. expected: see `expected_workers`.
    """
    local = [instance for instance in step.instances if instance.host == host.name]
    entries = files_of(desired, local) if desired is not None else ()
    environments = {env_path(instance.role) for instance in local}
    revisions = {unit.name: unit.revision for unit in desired.units} if desired is not None else {}
    first_of_role = {instance.role: instance for instance in reversed(local)}
    request = StepRequest(
        archive=archive.as_text(archive.pack(entries)),
        envs=[entry.path for entry in entries if entry.path in environments],
        files=[entry.path for entry in entries if entry.path not in environments],
        timeout=bound(step),
        units={instance.unit: _unit(run, role, instance, releases[instance.role], revisions) for instance in local},
        gates={name: _gate(run, instance, step, releases[name], expected) for name, instance in sorted(first_of_role.items())},
        stopping=[node_of(run.observed, instance) for instance in step.instances],
        min_consumers={queue: run.plan.min_consumers(queue) for instance in local for queue in instance.queues},
        canary=step.canary,
        restart=desired is None,
    )
    return json.dumps(legacy.request_for(releases[local[0].role], request))


def bound(step: Step) -> int:
    """Seconds after which a step is over on every machine, if the machine is there: a second instance up, watched and later
    drained, the worker drained in two phases, started and watched, and all of it back again."""
    stop = max(instance.worker.longest_stop for instance in step.instances)
    settle = max(max(instance.worker.settle, instance.worker.canary_settle) for instance in step.instances)
    return 4 * (2 * stop + 2 * process.START_SECONDS + settle + 20 * ANSWER)


def expected_workers(plan: Plan, observed: Mapping[str, ObservedMachine]) -> int:
    """How many workers should answer: those that were up when the run began, and all of the hosts that it did not ask."""
    return sum(instance.host not in observed or is_up(observed, instance) for instance in plan.instances)


def is_up(observed: Mapping[str, ObservedMachine], instance: Instance) -> bool:
    """Whether the probe found this instance running."""
    unit = observed[instance.host].units.get(instance.unit)
    return unit is not None and unit.active


def node_of(observed: Mapping[str, ObservedMachine], instance: Instance) -> str:
    """An instance's name among Celery's, as its machine calls itself."""
    return process.node(instance.role, instance.number, observed[instance.host].hostname or instance.host)


def commit_command(release: Release) -> str:
    """sh that discards what a step kept to be put back, and ends second instances."""
    # Python takes its time to start: only if there is something to do.
    snapshot = f"{STATE_FOLDER}/{SNAPSHOT}" if release.protocol else f"{STATE_FOLDER}/before.json"
    is_needed = f"[ -e {snapshot} ] || ls {RUNTIME_UNITS}/celery-*-surge.service >/dev/null 2>&1"
    return f"if {is_needed}; then {command(release, '--commit')}; fi"


def command(release: Release, option: str = "") -> str:
    """sh that does what the request on stdin says. option: see fleet_node.step."""
    # -P: no module of the current directory. Nothing of the app's runs as root.
    environment = f"PYTHONPATH={release.path}/node PYTHONDONTWRITEBYTECODE=1"
    step = f"{environment} /usr/bin/python3 -sP -m fleet_node.step {legacy.option_for(release, option)}".rstrip()
    return f"cd / && {legacy.before_step(release)}{step}"


def _unit(
    run: RunView, role: WorkerRole, instance: Instance, release: Release, revisions: Mapping[str, str | None]
) -> UnitRequest:
    name, text = role.surge(run, instance, release)
    hostname = run.observed[instance.host].hostname or instance.host
    return UnitRequest(
        role=instance.role,
        node=node_of(run.observed, instance),
        queues=list(instance.queues),
        revision=revisions.get(instance.unit),
        need=instance.sized.expected,
        surge={"unit": name, "node": process.node(instance.role, f"{instance.number}-surge", hostname), "text": text},
    )


def _gate(run: RunView, instance: Instance, step: Step, release: Release, expected: int) -> GateRequest:
    """The gate of an instance's role on its host."""
    worker = instance.worker
    # A solo worker answers between two tasks alone.
    patience = ANSWER + (worker.time_limit if worker.pool == "solo" else 0)
    return GateRequest(
        command=[f"{release.path}/venv/bin/python", "-m", "fleet_node.gate"],
        user=USER,
        folder=HOME,
        base={"PATH": "/usr/bin:/bin", "HOME": HOME, "LANG": "C.UTF-8", "PYTHONPATH": release.python_path},
        environment=process.environment(run.plan, run.plan.fleet.hosts[instance.host], instance.role, run.secrets),
        ask={
            "expected": expected,
            "app": release.app,
            "look": LOOK,
            "settle": worker.canary_settle if step.canary else worker.settle,
            "patience": patience,
            "first_task": max(patience, process.START_SECONDS),
        },
    )
