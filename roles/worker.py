"""Worker roles: one systemd unit an instance, from one template, and one environment file a role."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.plan import process
from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.rollout.request import env_path
from fleet.spec.fleet import Host
from fleet.state.desired import Directory, File, State, Unit, revision
from fleet.state.paths import ETC, HOME, RUNTIME_UNITS, USER
from fleet.state.paths import UNITS as UNIT_FOLDER
from fleet.state.release import Release
from fleet.state.render import render
from fleet.state.role import RunView
from roles.gpu import Visible, visible

PACKAGES = ()
UNIT_FILES = f"{UNIT_FOLDER}/celery-*@*.service"
SURGES = f"{RUNTIME_UNITS}/celery-*@*-surge.service"
ENVIRONMENTS = f"{ETC}/*.env"
PATHS = (UNIT_FILES, SURGES, ENVIRONMENTS, f"{HOME}/*/")
UNITS = ("celery-*@*.service", "fleet.target")
NONE = State(units=(Unit("fleet.target"),), only=(UNIT_FILES, SURGES, ENVIRONMENTS))
"""A host without workers: what an earlier role left there goes. The target comes with the workers and not before: to start
it starts them too, which must not happen on the units of the release before."""


def desired(run: RunView, host: Host) -> State:
    """The units and environments of every worker on this host. Units of workers that were removed go."""
    state = NONE
    if host.workers:
        release = run.release_of(host)
        for role in run.plan.workers[host.name]:
            state += _role(run, host, role, release)
    return state


def surge(run: RunView, instance: Instance, release: Release) -> tuple[str, str]:
    """(name, text) of the unit of a second instance, for as long as the first is away. It is gone with the next boot."""
    extra = f"{instance.number}-surge"
    text = _unit(instance, release, _device(run.plan, instance), extra).decode()
    return f"celery-{instance.role}@{extra}.service", text


def _role(run: RunView, host: Host, role: str, release: Release) -> State:
    variables = process.environment(run.plan, host, role, run.secrets)
    files, units = [File(env_path(role), environment_file(variables), mode=0o600)], []
    for instance in run.plan.instances_on((host.name,)):
        if instance.role == role:
            device = _device(run.plan, instance)
            digest = revision(_unit(instance, release, device), files[0].content)
            files.append(File(f"{UNIT_FOLDER}/{instance.unit}", _unit(instance, release, device, revision=digest)))
            units.append(Unit(instance.unit, digest))
    state_folder = Directory(f"{HOME}/{role}", mode=0o750, owner=USER, group=USER)
    return State(directories=(state_folder,), files=tuple(files), units=tuple(units))


def environment_file(variables: Mapping[str, str]) -> bytes:
    """Variables as systemd's EnvironmentFile, sorted by name."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in sorted(variables.items())).encode()


def _device(plan: Plan, instance: Instance) -> Visible | None:
    if instance.worker.workload != "gpu":
        return None
    return visible(plan.machines[instance.host], plan.fleet.hosts[instance.host].settings.nvidia, instance.number)


def _unit(instance: Instance, release: Release, device: Visible | None, name: str | None = None, revision: str = "") -> bytes:
    """A worker's unit. name: of a second instance, in place of the number."""
    label = name or str(instance.number)
    return render(
        "etc/systemd/system/celery-worker@.service.j2",
        role=instance.role,
        instance=label,
        node=process.node(instance.role, label),
        worker=instance.worker,
        sized=instance.sized,
        start_seconds=process.START_SECONDS,
        abort_seconds=process.ABORT_SECONDS,
        fixed=process.fixed_environment(instance.worker),
        device=device,
        app=release.app,
        release=release,
        arguments=process.arguments(instance.role, instance.sized, label),
        env_path=env_path(instance.role),
        home=HOME,
        state_path=f"{HOME}/{instance.role}",
        user=USER,
        revision=revision,
    )


def _quoted(value: str) -> str:
    """`value` for systemd's EnvironmentFile, which takes shell-like double quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$", "\\$")
    return f'"{escaped}"'
