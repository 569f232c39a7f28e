"""The broker's settings: a Redis or a RabbitMQ that the fleet runs, or a server that somebody else runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fleet.spec.fields import Model, setting
from fleet.spec.sizes import SizeOrShare
from fleet.spec.sources import CELERY, MEASURED, OURS, SYSTEMD
from fleet.spec.urls import check_given
from fleet.spec.validate import validate
from fleet.spec.values import Line, Seconds, Whole

BROKER_SHARE = "85%"
"""Share of the machine's memory that an automatic `memory_max` gives to the broker."""
Port = Annotated[int, Field(ge=1, le=65535)]
Tls = bool | Literal["both"]


class Redis(Model):
    """The Redis that the fleet runs: `broker` in `group_data/broker.py`."""

    kind: Literal["redis"] = setting(
        'What the fleet runs: "redis", or "rabbitmq" with the settings below.',
        why="Redis is faster and needs less; RabbitMQ keeps tasks on three machines (docs/brokers.md).",
        source=OURS,
        default="redis",
    )
    port: Port = setting(
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
    tls: Tls = setting(
        'Whether connections are encrypted and clients check the certificate of Redis. True closes the plain port; "both" leaves '
        "it open for producers that have not changed yet. `fleet certificates` makes what Redis shows.",
        why="On a network of your own, TLS costs throughput and gives little. Over anybody else's, passwords and tasks are in "
        "plain text without it.",
        source=OURS,
        default=False,
    )
    tls_port: Port = setting(
        "TCP port of encrypted connections.", why="Not the plain one, so that both can be open.", source=OURS, default=6380
    )

    @property
    def scheme(self) -> str:
        """Of the URL that workers use."""
        return "rediss" if self.tls else "redis"

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that are open; the first is the one that workers use."""
        return _ports(self.port, self.tls_port, self.tls)


class RabbitMQ(Model):
    """The RabbitMQ that the fleet runs, on one host or on three: `broker` in `group_data/broker.py`."""

    kind: Literal["rabbitmq"] = setting("What the fleet runs.", why="Without it, the fleet runs a Redis.", source=OURS)
    port: Port = setting(
        "TCP port on the LAN and loopback addresses.", why="AMQP's own.", source="rabbitmq.com: Networking", default=5672
    )
    memory: SizeOrShare = setting(
        "Memory above which RabbitMQ takes no more from producers.",
        why="They wait then, and no task is lost. Stay well below memory_max: what is on its way needs memory, too.",
        source="rabbitmq.com: Memory Alarms",
        default="40%",
        unit="bytes, or a share of the machine's memory",
    )
    memory_max: SizeOrShare | None = setting(
        "MemoryMax of the RabbitMQ service.",
        why="The system needs the rest.",
        source=SYSTEMD,
        default=None,
        unit="bytes, or a share of the machine's memory",
        shown=f"`None` ({BROKER_SHARE}, at most what machine_reserve leaves)",
    )
    disk_free: SizeOrShare = setting(
        "Free space on the disk below which RabbitMQ takes no more from producers.",
        why="What is in memory has to fit on the disk: a disk that is full stops the whole node.",
        source="rabbitmq.com: Disk Alarms",
        default="40%",
        unit="bytes, or a share of the machine's memory",
    )
    consumer_timeout: Seconds | None = setting(
        "Seconds after which RabbitMQ takes a task from a worker that has not acknowledged it.",
        why="The worker's channel is closed, and all that it holds runs again elsewhere.",
        source="rabbitmq.com: Consumers, Delivery Acknowledgement Timeout",
        unit="seconds",
        default=None,
        shown="`None` (a minute more than the longest that a role may hold a task, at least 1800)",
    )
    tls: Tls = setting(
        'Whether connections are encrypted and clients check the certificate of RabbitMQ. True closes the plain port; "both" '
        "leaves it open for producers that have not changed yet. `fleet certificates` makes what RabbitMQ shows. Between its "
        "nodes there is none.",
        why="On a network of your own, TLS costs throughput and gives little. Over anybody else's, passwords and tasks are in "
        "plain text without it.",
        source=OURS,
        default=False,
    )
    tls_port: Port = setting(
        "TCP port of encrypted connections.", why="AMQP's own with TLS.", source="rabbitmq.com: TLS", default=5671
    )

    @property
    def scheme(self) -> str:
        """Of the URL that workers use."""
        return "amqps" if self.tls else "amqp"

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that are open; the first is the one that workers use."""
        return _ports(self.port, self.tls_port, self.tls)


def _ports(plain: int, encrypted: int, tls: bool | str) -> tuple[int, ...]:
    return {False: (plain,), True: (encrypted,), "both": (encrypted, plain)}[tls]


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


Own = Redis | RabbitMQ
Broker = Own | External
KINDS: dict[str, type[Own]] = {"redis": Redis, "rabbitmq": RabbitMQ}
"""What the fleet itself can run."""


def validated(data: Any, path: str, mistakes: list[str]) -> Broker | None:
    """The broker of these settings. On errors, append a line for each to `mistakes` and return None."""
    if isinstance(data, dict) and "url" in data:
        return validate(External, data, path, mistakes)
    kind = kind_of(data)
    if kind not in KINDS:
        mistakes.append(f'{path}.kind: write "redis" or "rabbitmq", found {kind!r}')
        return None
    return validate(KINDS[kind], data, path, mistakes)


def kind_of(data: object) -> Any:
    """What the fleet is to run, by a host's `broker`."""
    return data.get("kind", "redis") if isinstance(data, Mapping) else "redis"
