"""The broker's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fleet.spec.fields import Model, setting
from fleet.spec.sizes import SizeOrShare
from fleet.spec.sources import MEASURED, OURS, SYSTEMD
from fleet.spec.values import Whole

BROKER_SHARE = "85%"
"""Share of the machine's memory that an automatic `memory_max` gives to Redis."""


class Broker(Model):
    """The Redis broker: `broker` in `group_data/broker.py`."""

    port: Annotated[int, Field(ge=1, le=65535)] = setting(
        "TCP port on the LAN and loopback addresses.", why="Redis' own default.", source="redis.conf", default=6379
    )
    maxmemory: SizeOrShare = setting(
        "Memory for data. Above it Redis refuses writes; Redis never evicts a task.",
        why="While it rewrites its append-only file, Redis can need as much memory again. Stay below half of memory_max.",
        source="redis.io: Persistence, Log rewriting",
        default="40%",
        unit="bytes, or a share of the machine's memory",
    )
    memory_max: SizeOrShare | None = setting(
        "MemoryMax of the Redis service.",
        why="The system needs the rest: a machine that swaps is slower than a Redis that refuses writes.",
        source=SYSTEMD,
        default=None,
        unit="bytes, or a share of the machine's memory",
        shown=f"`None` ({BROKER_SHARE}, at most what machine_reserve leaves)",
    )
    maxclients: Whole = setting(
        "Connections that Redis accepts.",
        why="10000 is Redis' own default. A worker opens some; with results, gevent opens about one for each slot. `fleet "
        "lint` adds them up.",
        source="redis.conf; measured",
        unit="connections",
        default=10000,
        gt=0,
    )
    other_clients: Whole = setting(
        "Connections reserved for clients that are no workers of this fleet: producers, monitoring, you.",
        why="A producer that cannot connect loses its task before the task is queued.",
        source=OURS,
        unit="connections",
        default=200,
        ge=0,
    )
    maxmemory_policy: Literal["noeviction", "allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-lfu", "volatile-ttl"] = (
        setting(
            "What Redis does when its memory is full.",
            why="Every policy but noeviction throws tasks away without an error (kombu#1063).",
            source="redis.io: Key eviction",
            default="noeviction",
        )
    )
    appendonly: bool = setting(
        "Whether Redis writes every change to a file (AOF).",
        why="Without the file, a restart lost 20 to 35 of 60 tasks.",
        source=MEASURED,
        default=True,
    )
