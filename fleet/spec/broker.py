"""The settings of the broker: `broker` in `group_data/broker.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fleet.spec.fields import Model, setting
from fleet.spec.sizes import SizeOrShare
from fleet.spec.sources import MEASURED, OURS, SYSTEMD
from fleet.spec.values import Whole

BROKER_SHARE = "85%"


class Broker(Model):
    """The Redis broker: `broker` in `group_data/broker.py`."""

    port: Annotated[int, Field(ge=1, le=65535)] = setting(
        "TCP port on the LAN and loopback addresses.", why="Redis' own.", source="redis.conf", default=6379
    )
    maxmemory: SizeOrShare = setting(
        "Redis refuses writes above it; it never evicts a task.",
        why="While its append-only file is rewritten Redis can need as much again, so stay under half of memory_max.",
        source="redis.io: Persistence, Log rewriting",
        default="40%",
        unit="bytes, or a share of the machine's memory",
    )
    memory_max: SizeOrShare | None = setting(
        "MemoryMax of the Redis service.",
        why=f"The rest is the system's: a machine that swaps is slower than one that refuses. auto is {BROKER_SHARE}, and no "
        "more than machine_reserve leaves.",
        source=SYSTEMD,
        default=None,
        unit="bytes, or a share of the machine's memory",
        shown="auto",
    )
    maxclients: Whole = setting(
        "Connections that Redis accepts.",
        why="Redis' own. A worker takes some, gevent with results about one a slot; `fleet lint` adds them up.",
        source="redis.conf; measured",
        unit="connections",
        default=10000,
        gt=0,
    )
    other_clients: Whole = setting(
        "Connections to keep for whoever is no worker of this fleet: producers, monitoring, you.",
        why="A producer that finds no connection loses its task before it was ever queued.",
        source=OURS,
        unit="connections",
        default=200,
        ge=0,
    )
    maxmemory_policy: Literal["noeviction", "allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-lfu", "volatile-ttl"] = (
        setting(
            "What Redis does when its memory is full.",
            why="Anything but noeviction throws tasks away, without a word (kombu#1063).",
            source="redis.io: Key eviction",
            default="noeviction",
        )
    )
    appendonly: bool = setting(
        "Whether Redis keeps every change in a file (AOF).",
        why="A restart without it lost 20 to 35 of 60 tasks.",
        source=MEASURED,
        default=True,
    )
