"""Worker roles: one systemd unit an instance, from one template, and one environment file a role."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from fleet.model import Worker
from fleet.secrets import BROKER_WORKER
from fleet.spec import Fleet, Host
from fleet.urls import celery_variables
from roles.machine import ETC, HOME, USER
from roles.release import Release
from roles.render import render
from roles.state import Directory, File, State, Unit

PATTERN = "/etc/systemd/system/celery-*@*.service"
NONE = State(units=(Unit("fleet.target"),), only=(PATTERN, f"{ETC}/*.env"))
"""A host without workers: what an earlier role left there goes. The target comes with the workers and not before: to start
it starts them too, which must not happen on the units of the release before."""


def desired(fleet: Fleet, host: Host, release: Release, secrets: Mapping[str, str]) -> State:
    """The units and environments of every worker on this host. Units of workers that are no longer wanted go."""
    state = NONE
    for role, worker in host.workers.items():
        state += _role(role, worker, environment(fleet, host, role, secrets), release)
    return state


def environment(fleet: Fleet, host: Host, role: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """What a worker of `role` gets in its environment. It holds secrets."""
    worker = host.workers[role]
    return {
        **celery_variables(secrets[BROKER_WORKER], fleet.broker_netloc),
        **host.settings.environment,
        **worker.environment,
        **{name: secrets[name] for name in worker.secrets},
    }


def arguments(role: str, worker: Worker, instance: int) -> list[str]:
    """The flags of `celery worker` for one instance. %H is systemd's host name."""
    optional = {
        "--max-tasks-per-child": worker.max_tasks_per_child,
        "--max-memory-per-child": worker.max_memory_per_child and worker.max_memory_per_child // 1024,  # KiB
        "--soft-time-limit": worker.soft_time_limit,
        "--time-limit": worker.time_limit,
    }
    return [
        # Celery patches for gevent and eventlet only where it sees the pool in its arguments.
        *("-P", worker.pool),
        *("-c", str(worker.concurrency)),
        f"--hostname={role}-worker-{instance}@%H",
        f"--queues={','.join(worker.queues)}",
        f"--prefetch-multiplier={worker.prefetch_multiplier}",
        *(f"{flag}={value}" for flag, value in optional.items() if value is not None),
        *(["--pool-start-method=spawn"] if worker.start_method == "spawn" else []),
        f"--loglevel={worker.log_level}",
        # Their chatter grows with the square of the fleet: ten idle workers cost 42.8 kB/s with it, 1.35 kB/s without.
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("-I", "fleet_node.worker"),
    ]


def _role(role: str, worker: Worker, variables: Mapping[str, str], release: Release) -> State:
    env_path = f"{ETC}/{role}.env"
    env = "".join(f"{name}={_quoted(value)}\n" for name, value in sorted(variables.items())).encode()
    files, units = [File(env_path, env, mode=0o640, group=USER)], []
    for instance in range(1, worker.instances + 1):
        values = {
            "role": role,
            "instance": instance,
            "worker": worker,
            "app": release.app,
            "release": release,
            "arguments": arguments(role, worker, instance),
            "env_path": env_path,
            "home": HOME,
            "state_path": f"{HOME}/{role}",
            "user": USER,
        }
        template = "etc/systemd/system/celery-worker@.service.j2"
        revision = sha256(render(template, **values, revision="") + b"\0" + env).hexdigest()[:12]
        name = f"celery-{role}@{instance}.service"
        files.append(File(f"/etc/systemd/system/{name}", render(template, **values, revision=revision)))
        units.append(Unit(name, revision))
    state_folder = Directory(f"{HOME}/{role}", mode=0o750, owner=USER, group=USER)
    return State(directories=(state_folder,), files=tuple(files), units=tuple(units))


def _quoted(value: str) -> str:
    """`value` for systemd's EnvironmentFile, which takes shell-like double quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$", "\\$")
    return f'"{escaped}"'
