"""Connections: of all workers against Redis' limit, of one worker against its files, of all processes against the database's
limit."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.lint.app import App
from fleet.lint.finding import Violation, rule
from fleet.plan.plan import CHANNEL_CONNECTIONS, Plan
from fleet.plan.sizing import SizedWorker
from fleet.spec.pools import GREEN

IDLE = 10
"""Connections of an idle worker without gossip, mingle and heartbeat: 4 of Celery, and 5 of the fleet's wakeups, leases and
counts (benchmarks/scale.py); one more for a moment."""

OF_RABBITMQ = 16
"""Connections of a worker to RabbitMQ, at most: what it takes tasks from, Celery's pool of ten, and the fleet's own."""

WORKER_FILES = 65536
"""LimitNOFILE of a worker's unit."""

REDIS_FILES = 1 << 20
"""The most files that the kernel lets a process open by default (fs.nr_open)."""


def broker_connections(sized: SizedWorker) -> int:
    """Connections to Redis that one instance opens at most (benchmarks/footprint.py).

    With results, an instance opens IDLE connections and one for each slot. In gevent and eventlet, one more for each slot
    acknowledges tasks.
    """
    green = sized.concurrency + CHANNEL_CONNECTIONS if sized.worker.pool in GREEN else 0
    return IDLE + sized.concurrency + green


def connections_by_role(plan: Plan) -> dict[str, int]:
    """Role → connections to the broker that its workers open at most."""
    return {
        role: sum(placement.sized.instances * broker_connections(placement.sized) for placement in placements)
        for role, placements in plan.roles.items()
    }


def processes(sized: SizedWorker) -> int:
    """Number of processes of one instance that run the app's code."""
    return sized.concurrency if sized.worker.pool == "prefork" else 1


def _sum(by_role: dict[str, int]) -> str:
    """ "web 160 + batch 40": the connections of each role."""
    return " + ".join(f"{role} {count}" for role, count in by_role.items())


@rule("connections-broker", "error")
def connections_broker(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Above maxclients Redis refuses connections: of a worker that reconnects, or of a producer."""
    broker = plan.fleet.redis
    if broker is None:
        return
    by_role = connections_by_role(plan)
    total = sum(by_role.values()) + broker.other_clients
    if total > broker.maxclients:
        yield Violation(
            "broker.maxclients",
            f"{broker.maxclients}, and the fleet may open {total} ({_sum(by_role)} + other_clients {broker.other_clients}); "
            + (f"write at least {total}" if total + 1024 <= REDIS_FILES else "no Redis takes so many: fewer instances, or slots"),
        )


@rule("connections-files", "error")
def connections_files(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A process without free file descriptors fails at whatever it opens next."""
    for placement in plan.placed:
        # Besides its connections to the broker, a task opens one or two of its own.
        of_broker = broker_connections(placement.sized) if plan.fleet.transport == "redis" else OF_RABBITMQ
        opened = of_broker + 2 * placement.sized.concurrency
        if opened > WORKER_FILES:
            yield Violation(
                f"{placement.path}.concurrency",
                f"{placement.sized.concurrency} tasks at once may open {opened} connections, and a worker {WORKER_FILES} files; "
                "write less, and more instances",
                (placement.host,),
            )
    redis = plan.fleet.redis
    if redis and redis.maxclients + 1024 > REDIS_FILES:
        yield Violation("broker.maxclients", f"{redis.maxclients} is more than the {REDIS_FILES} files that Redis may open")


@rule("connections-database", "error")
def connections_database(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """Every process has its own connection pool. If the database has no connection left, every task that needs one fails."""
    limit = plan.fleet.settings.database_max_connections
    if limit is None:
        return
    by_role: dict[str, int] = {}
    for placement in plan.placed:
        each = placement.worker.database_connections
        if each:
            by_role[placement.role] = (
                by_role.get(placement.role, 0) + placement.sized.instances * processes(placement.sized) * each
            )
    total = sum(by_role.values())
    if total > limit:
        yield Violation(
            "database_max_connections",
            f"{limit}, and the fleet may open {total} ({_sum(by_role)}); lower database_connections, or put a pooler between",
        )
