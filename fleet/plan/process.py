"""A worker as a process, whatever supervises it: what a systemd unit and a Deployment are both made of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from fleet.plan.plan import Plan
from fleet.plan.sizing import SizedWorker
from fleet.spec.beat import Beat
from fleet.spec.endpoint import celery_variables, tls_settings
from fleet.spec.fleet import Host
from fleet.spec.worker import Worker

_NODE = re.compile(r"(.+)-worker-(\d+(?:-surge|-extra)?)@(.+)")
START_SECONDS = 120
"""Seconds until a worker has to be ready (TimeoutStartSec)."""
ABORT_SECONDS = 20
"""Seconds that a worker which does not get on has to say where it is (TimeoutAbortSec)."""


BEAT_WATCHDOG = 120
"""Seconds without a look at the schedule after which beat is started again (WatchdogSec)."""
BEAT_STOP = 30
"""Seconds that beat has to give its lock back (TimeoutStopSec)."""


def node(role: str, instance: int | str, host: str = "%H") -> str:
    """A worker's name among Celery's. %H is systemd's host name."""
    return f"{role}-worker-{instance}@{host}"


class NodeName(NamedTuple):
    """The parts of a worker's name among Celery's. instance: its number; of a second instance, with `-surge`; of one that was
    started for a time, with `-extra`."""

    role: str
    instance: str
    hostname: str


def parse_node(node: str) -> NodeName | None:
    """The parts of a node's name; None if it is of no worker that a fleet starts."""
    match = _NODE.fullmatch(node)
    return NodeName(*match.groups()) if match else None


def arguments(role: str, sized: SizedWorker, instance: int | str, host: str = "%H") -> list[str]:
    """The flags of `celery worker` for one instance. host: of `node`."""
    worker = sized.worker
    optional = {
        "--max-tasks-per-child": worker.max_tasks_per_child,
        "--max-memory-per-child": sized.max_memory_per_child and sized.max_memory_per_child // 1024,  # KiB
        "--soft-time-limit": worker.soft_time_limit,
        "--time-limit": worker.time_limit,
    }
    disabled = worker.prefetch == "disabled"
    return [
        # Celery patches for gevent and eventlet only if it sees the pool in its arguments.
        *("-P", worker.pool),
        *("-c", str(sized.concurrency)),
        *([] if worker.autoscale_min is None else [f"--autoscale={sized.concurrency},{worker.autoscale_min}"]),
        f"--hostname={node(role, instance, host)}",
        f"--queues={','.join(worker.queues)}",
        *(["--prefetch-multiplier=1", "--disable-prefetch"] if disabled else [f"--prefetch-multiplier={worker.prefetch}"]),
        *(f"{flag}={value}" for flag, value in optional.items() if value is not None),
        *(["--pool-start-method=spawn"] if worker.start_method == "spawn" else []),
        f"--loglevel={worker.log_level}",
        # Their chatter grows with the square of the fleet: ten idle workers cost 42.8 kB/s with it, 1.35 kB/s without.
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("-I", "fleet_node.worker"),
    ]


def fixed_environment(worker: Worker) -> dict[str, str]:
    """What `fleet_node` reads of a role's settings from a worker's environment, whatever supervises it."""
    variables = {
        # setproctitle, where the app has it, would overwrite the environment, where the deploy reads the revision that runs.
        "SPT_NOENV": "1",
        "PYTHONUNBUFFERED": "1",
        "FLEET_MAX_DELIVERIES": str(worker.max_deliveries),
        "FLEET_LONGEST_STOP": str(worker.longest_stop),
    }
    if worker.log_format != "app":
        variables["FLEET_LOG"] = worker.log_format
    if worker.stall_seconds is not None:
        # Whoever ends a worker that does not get on reads in its log where every thread is.
        variables |= {"FLEET_STALL_TIMEOUT": str(worker.stall_seconds), "PYTHONFAULTHANDLER": "1"}
    return variables


def environment(plan: Plan, host: Host, role: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """The environment of the workers of `role` on `host`, by name. It holds secrets."""
    worker = host.workers[role]
    return {
        **celery_variables(plan.fleet, secrets, client=host.name),
        "FLEET_CELERY": _celery(plan, plan.workers[host.name][role], secrets),
        **host.settings.environment,
        **worker.environment,
        **{name: secrets[name] for name in worker.secrets},
    }


def _celery(plan: Plan, sized: SizedWorker | None, secrets: Mapping[str, str]) -> str:
    """FLEET_CELERY: what Celery is set to, with the files of TLS if the broker's URL cannot name them."""
    settings = plan.celery_settings(sized)
    settings["settings"] |= tls_settings(plan.fleet, secrets)
    return json.dumps(settings, sort_keys=True)


def beat_node(host: str = "%H") -> str:
    """The name of a beat process. %H is systemd's host name."""
    return f"beat@{host}"


def beat_arguments(beat: Beat, app: str, schedule: str, host: str = "%H") -> list[str]:
    """What follows `python -m fleet_node.beat`. schedule: path of the file of Celery's own scheduler. host: of `beat_node`."""
    optional = {"--scheduler": beat.scheduler, "--max-interval": beat.max_interval}
    return [
        app,
        f"--node={beat_node(host)}",
        f"--takeover={beat.takeover}",
        f"--schedule={schedule}",
        *(f"{flag}={value}" for flag, value in optional.items() if value is not None),
        f"--loglevel={beat.log_level}",
    ]


def beat_environment(plan: Plan, host: Host, secrets: Mapping[str, str]) -> dict[str, str]:
    """The environment of beat on `host`, by name. It holds secrets."""
    beat = plan.fleet.beat
    return {
        **celery_variables(plan.fleet, secrets, client=host.name),
        "FLEET_CELERY": _celery(plan, None, secrets),
        **({"FLEET_BEAT_SCHEDULER": beat.scheduler} if beat.scheduler else {}),
        **host.settings.environment,
        **beat.environment,
        **{name: secrets[name] for name in beat.secrets},
    }


def as_lines(variables: Mapping[str, str]) -> str:
    """NAME=value lines, as commands that run the app on a machine read them on stdin."""
    return "".join(f"{name}={value}\n" for name, value in variables.items())
