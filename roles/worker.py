"""Worker roles: one systemd unit an instance, from one template, and one environment file a role."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

from fleet.broker.urls import celery_variables
from fleet.plan.plan import Plan
from fleet.plan.sizing import SizedWorker
from fleet.spec.fleet import Host
from fleet.spec.secrets import BROKER_WORKER
from fleet.state.desired import Directory, File, State, Unit
from fleet.state.release import Release
from fleet.state.render import render
from roles.gpu import Visible, visible
from roles.machine import ETC, HOME, USER

PATTERN = "/etc/systemd/system/celery-*@*.service"
SURGES = "/run/systemd/system/celery-*@*-surge.service"
NONE = State(units=(Unit("fleet.target"),), only=(PATTERN, SURGES, f"{ETC}/*.env"))
"""A host without workers: what an earlier role left there goes. The target comes with the workers and not before: to start
it starts them too, which must not happen on the units of the release before."""


def desired(plan: Plan, host: Host, release: Release, secrets: Mapping[str, str]) -> State:
    """The units and environments of every worker on this host. Units of workers that are no longer wanted go."""
    state = NONE
    for role, sized in plan.workers[host.name].items():
        state += _role(plan, host, role, sized, environment(plan, host, role, secrets), release)
    return state


def environment(plan: Plan, host: Host, role: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """What a worker of `role` gets in its environment. It holds secrets."""
    worker = host.workers[role]
    return {
        **celery_variables(secrets[BROKER_WORKER], plan.fleet.broker_netloc),
        "FLEET_CELERY": json.dumps(plan.celery_settings(plan.workers[host.name][role]), sort_keys=True),
        **host.settings.environment,
        **worker.environment,
        **{name: secrets[name] for name in worker.secrets},
    }


def node(role: str, instance: int | str, host: str = "%H") -> str:
    """A worker's name among Celery's. %H is systemd's host name."""
    return f"{role}-worker-{instance}@{host}"


def arguments(role: str, sized: SizedWorker, instance: int | str) -> list[str]:
    """The flags of `celery worker` for one instance."""
    worker = sized.worker
    optional = {
        "--max-tasks-per-child": worker.max_tasks_per_child,
        "--max-memory-per-child": sized.max_memory_per_child and sized.max_memory_per_child // 1024,  # KiB
        "--soft-time-limit": worker.soft_time_limit,
        "--time-limit": worker.time_limit,
    }
    disabled = worker.prefetch == "disabled"
    return [
        # Celery patches for gevent and eventlet only where it sees the pool in its arguments.
        *("-P", worker.pool),
        *("-c", str(sized.concurrency)),
        f"--hostname={node(role, instance)}",
        f"--queues={','.join(worker.queues)}",
        *(["--prefetch-multiplier=1", "--disable-prefetch"] if disabled else [f"--prefetch-multiplier={worker.prefetch}"]),
        *(f"{flag}={value}" for flag, value in optional.items() if value is not None),
        *(["--pool-start-method=spawn"] if worker.start_method == "spawn" else []),
        f"--loglevel={worker.log_level}",
        # Their chatter grows with the square of the fleet: ten idle workers cost 42.8 kB/s with it, 1.35 kB/s without.
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("-I", "fleet_node.worker"),
    ]


def surge(plan: Plan, host: Host, role: str, instance: int, release: Release) -> tuple[str, str]:
    """(name, text) of the unit of a second instance, for as long as the first is away. It is gone with the next boot."""
    sized = plan.workers[host.name][role]
    extra = f"{instance}-surge"
    device = _device(plan, host, sized, instance)
    return f"celery-{role}@{extra}.service", _unit(role, sized, release, instance, device, extra).decode()


def _role(plan: Plan, host: Host, role: str, sized: SizedWorker, variables: Mapping[str, str], release: Release) -> State:
    env = "".join(f"{name}={_quoted(value)}\n" for name, value in sorted(variables.items())).encode()
    files, units = [File(env_path(role), env, mode=0o600)], []
    for instance in range(1, sized.instances + 1):
        device = _device(plan, host, sized, instance)
        revision = sha256(_unit(role, sized, release, instance, device) + b"\0" + env).hexdigest()[:12]
        name = f"celery-{role}@{instance}.service"
        files.append(File(f"/etc/systemd/system/{name}", _unit(role, sized, release, instance, device, revision=revision)))
        units.append(Unit(name, revision))
    state_folder = Directory(f"{HOME}/{role}", mode=0o750, owner=USER, group=USER)
    return State(directories=(state_folder,), files=tuple(files), units=tuple(units))


def env_path(role: str) -> str:
    """The file that a role's environment is in, on a machine."""
    return f"{ETC}/{role}.env"


def _device(plan: Plan, host: Host, sized: SizedWorker, number: int) -> Visible | None:
    return visible(plan.machines[host.name], host.settings.nvidia, number) if sized.worker.workload == "gpu" else None


def _unit(
    role: str,
    sized: SizedWorker,
    release: Release,
    number: int,
    device: Visible | None,
    name: str | None = None,
    revision: str = "",
) -> bytes:
    """A worker's unit. name: of the instance, where it is not its number."""
    instance = name or str(number)
    return render(
        "etc/systemd/system/celery-worker@.service.j2",
        role=role,
        instance=instance,
        node=node(role, instance),
        worker=sized.worker,
        sized=sized,
        device=device,
        app=release.app,
        release=release,
        arguments=arguments(role, sized, instance),
        env_path=env_path(role),
        home=HOME,
        state_path=f"{HOME}/{role}",
        user=USER,
        revision=revision,
    )


def _quoted(value: str) -> str:
    """`value` for systemd's EnvironmentFile, which takes shell-like double quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$", "\\$")
    return f'"{escaped}"'
