"""What is observed, as plain values for JSON."""

from __future__ import annotations

from typing import Any

from fleet.observe.advice import advise
from fleet.observe.workers import Load, RoleLoad, WorkerLoad


def load_as_json(load: Load, inventory: str) -> dict[str, Any]:
    """The output of `fleet load --json`. inventory: its path, for the commands in the advice."""
    return {
        "workers": {worker.node: worker_as_json(worker) for worker in load.workers},
        "roles": {role.role: role_as_json(role) for role in load.roles},
        "advice": advise(load, inventory),
        "silent": dict(load.silent),
        "broker": load.problem or "answers",
        "not_known": dict(load.unknown),
    }


def worker_as_json(worker: WorkerLoad) -> dict[str, Any]:
    """A worker. heard_s: when any witness heard of it last; None if none did."""
    ages = [age for age in worker.heard_s.values() if age is not None]
    return {
        "state": worker.state,
        "why": worker.why,
        "role": worker.role,
        "host": worker.host,
        "expected": worker.expected,
        "active": worker.active,
        "slots": worker.slots,
        "lent": worker.lent,
        "utilisation": worker.utilisation,
        "running": dict(worker.running),
        "prefetched": worker.prefetched,
        "eta": worker.eta,
        "queues": list(worker.queues),
        "heard_s": round(min(ages), 1) if ages else None,
        "witnesses": {name: None if age is None else round(age, 1) for name, age in worker.heard_s.items()},
        "memory": worker.memory,
        "memory_max": worker.memory_max,
        "oom_kills": worker.oom_kills,
        "restarts": worker.restarts,
        "release": worker.release,
        "up_s": None if worker.up_s is None else round(worker.up_s, 1),
    }


def role_as_json(role: RoleLoad) -> dict[str, Any]:
    """A role."""
    return {
        "workers": role.workers,
        "well": role.well,
        "active": role.active,
        "slots": role.slots,
        "utilisation": role.utilisation,
        "prefetched": role.prefetched,
        "eta": role.eta,
        "waiting": role.waiting,
        "queues": list(role.queues),
    }
