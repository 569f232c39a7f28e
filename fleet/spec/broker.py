"""The broker's settings: a Redis that the fleet runs, or a server that somebody else runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fleet.spec.fields import Model, setting
from fleet.spec.sizes import SizeOrShare
from fleet.spec.sources import CELERY, MEASURED, OURS, SYSTEMD
from fleet.spec.urls import check_given
from fleet.spec.validate import validate
from fleet.spec.values import Line, Whole

BROKER_SHARE = "85%"
"""Share of the machine's memory that an automatic `memory_max` gives to Redis."""


class Redis(Model):
    """The Redis that the fleet runs: `broker` in `group_data/broker.py`."""

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
    tls: bool | Literal["both"] = setting(
        'Whether connections are encrypted and clients check the certificate of Redis. True closes the plain port; "both" leaves '
        "it open for producers that have not changed yet. `fleet certificates` makes what Redis shows.",
        why="On a network of your own, TLS costs throughput and gives little. Over anybody else's, passwords and tasks are in "
        "plain text without it.",
        source=OURS,
        default=False,
    )
    tls_port: Annotated[int, Field(ge=1, le=65535)] = setting(
        "TCP port of encrypted connections.", why="Not the plain one, so that both can be open.", source=OURS, default=6380
    )

    @property
    def scheme(self) -> str:
        """Of the URL that workers use."""
        return "rediss" if self.tls else "redis"

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that are open; the first is the one that workers use."""
        return {False: (self.port,), True: (self.tls_port,), "both": (self.tls_port, self.port)}[self.tls]


class External(Model):
    """A broker that somebody else runs: `broker` in `group_data/all.py`."""

    url: Annotated[Line, AfterValidator(check_given)] = setting(
        "The URL (redis://, rediss://, sentinel://, amqp:// or amqps://) as Celery takes it, by its name in the secrets file: "
        '"@BROKER_URL".',
        why="It holds a password.",
        source=OURS,
    )
    ca_file: Line | None = setting(
        "File on the control machine with the certificates of the authorities that signed the server's.",
        why="Without the file, clients trust the authorities of the machine's distribution.",
        source="docs.python.org: ssl",
        default=None,
    )
    certificate_file: Line | None = setting(
        "File on the control machine with the certificate that clients show.",
        why="Some servers ask for one.",
        source=OURS,
        default=None,
    )
    key_file: Line | None = setting(
        "File on the control machine with the key of `certificate_file`.", why="The key belongs to it.", source=OURS, default=None
    )
    ssl_cert_reqs: Literal["required", "none"] = setting(
        "Whether clients check the server's certificate and name.",
        why="A connection that is encrypted and not checked can be to anybody.",
        source=f"{CELERY}: Redis, broker_use_ssl",
        default="required",
    )
    master_name: Line | None = setting(
        "With sentinel://: the name by which the sentinels know the primary.",
        why="Sentinels may watch several.",
        source=f"{CELERY}: Redis, sentinel",
        default=None,
    )
    direct: bool = setting(
        "Whether this machine reaches the broker itself. If not, commands go through a machine of the fleet.",
        why="A managed server is seldom open to more than its own network.",
        source=OURS,
        default=False,
    )


Broker = Redis | External


def validated(data: Any, path: str, mistakes: list[str]) -> Broker | None:
    """The broker of these settings. On errors, append a line for each to `mistakes` and return None."""
    model: type[Redis | External] = External if isinstance(data, dict) and "url" in data else Redis
    return validate(model, data, path, mistakes)
