"""The broker, as a port: what the control side asks of it, with a side for Redis and one for RabbitMQ. `opened` tells them apart.

What a broker of a kind does not know is None, or left out, and stands in `unknown` with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from fleet.broker.ages import QueueAge
from fleet.broker.beat import BeatView
from fleet.broker.management import Management
from fleet.broker.view import BrokerView
from fleet.errors import FleetError
from fleet_node.protocol import ParkedTask, WorkerSign

PATIENCE = 5.0
"""Seconds for a broker to answer."""


class AwayError(FleetError):
    """The broker does not answer, or refuses. str() says why, in one line and without "the broker"."""


@dataclass(frozen=True)
class Moment:
    """What a broker says at one moment, without asking workers.

    at: its time, in seconds since 1970. ages: queue → what waits. consumers: queue → those that the broker counts, also ones that
    take nothing more and have not finished; empty if it does not count them. signs: node → (what it last said of itself, seconds
    ago). renewed: node → seconds since its lease was renewed; None if it has none. parked: queue → dead letters.
    """

    at: float
    ages: Mapping[str, QueueAge]
    consumers: Mapping[str, int] = field(default_factory=dict)
    signs: Mapping[str, tuple[WorkerSign, float]] = field(default_factory=dict)
    renewed: Mapping[str, float | None] = field(default_factory=dict)
    parked: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Health:
    """problem: what is wrong with the broker, in words; empty if nothing is, as far as it says. connected: node → seconds since
    its connection said something."""

    problem: str = ""
    connected: Mapping[str, float] = field(default_factory=dict)


class Port(Protocol):
    """A connection to a broker, for a look at it. Its methods raise what `opened` turns into AwayError.

    url: with which Celery connects. settings: of Celery, besides, for whoever asks workers. unknown: a key of --json → why
    brokers of this kind do not know it.
    """

    url: str

    @property
    def settings(self) -> Mapping[str, Any]: ...

    @property
    def unknown(self) -> Mapping[str, str]: ...

    def leases(self) -> dict[str, float]:
        """Holder → when its lease ends, by the broker's time; empty if workers have none."""

    def moment(self, lease: float | None, queues: Iterable[str]) -> Moment:
        """The broker now. lease: of workers, in seconds. queues: that are looked at in any case."""

    def held(self, holders: Iterable[str]) -> dict[str, Mapping[str, int]]:
        """Node → queue → messages that these holders have."""

    def unconsumed(self, known: Collection[str]) -> dict[str, QueueAge]:
        """Queue → what waits in it, of queues with tasks that no worker of the fleet consumes. known: queues that are no such."""

    def length(self, queue: str) -> int:
        """Messages that wait in a queue; 0 if there is none."""

    def beat(self) -> BeatView:
        """What beat processes say of themselves."""

    def health(self) -> Health:
        """How the broker is, and which workers are connected."""

    def present(self, nodes: Iterable[str]) -> dict[str, bool]:
        """Node → whether it has a connection, of those of these nodes of which RabbitMQ knows; empty of Redis, whose `connected`
        says more."""

    def view(self, queues: Iterable[str]) -> BrokerView:
        """The look of a preflight. queues: of the fleet."""

    def letters(self) -> list[ParkedTask]:
        """The dead letters, the longest parked first."""

    def requeue(self, letters: Sequence[ParkedTask]) -> int:
        """Put tasks at the end of the queue that they came from, as if they had never been tried. Returns how many. One that
        another user or a worker has sent meanwhile is not sent again; what could not be sent stays parked."""

    def drop(self, letters: Sequence[ParkedTask]) -> int:
        """Throw dead letters away. Returns how many."""


@contextmanager
def opened(
    url: str,
    *,
    monitor: str = "",
    management: Management | None = None,
    patience: float = PATIENCE,
) -> Iterator[Port]:
    """A connection to the broker, of the kind that its URL says. monitor: a URL for what only the monitor's user may see.
    management: of RabbitMQ, if its management API is reached. patience: seconds for an answer.

    Raises AwayError, also in place of what the broker's client raises in the context.
    """
    if is_amqp(url):
        from fleet.broker import rabbitmq

        with rabbitmq.opened(url, management, patience) as port:
            yield port
    else:
        from fleet.broker import redis

        with redis.opened(url, monitor or url, patience) as other:
            yield other


def is_amqp(url: str) -> bool:
    """Whether a broker's URL is RabbitMQ's."""
    return url.startswith(("amqp://", "amqps://", "pyamqp://"))


def first_line(error: BaseException) -> str:
    """An error of a client's in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
