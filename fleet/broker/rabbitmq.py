"""RabbitMQ, as the control side asks it. By AMQP: what waits in a queue whose name is known, and how many consume it. By the
management API, of the fleet's own brokers alone: nodes, memory, disk, and what other queues there are. See `fleet.broker.port`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from amqp import Connection
from amqp.exceptions import AMQPError, NotFound, ResourceLocked

from fleet.broker import rabbitmq_letters
from fleet.broker.ages import QueueAge
from fleet.broker.beat import BeatView
from fleet.broker.keys import is_public
from fleet.broker.management import Management
from fleet.broker.port import AwayError, Health, Moment, first_line
from fleet.broker.view import BrokerView
from fleet.spec.urls import PORTS, netloc
from fleet_node.protocol import DEAD_LETTERS, DELIVERIES, ParkedTask

ANSWER = 1.0
"""Seconds that workers have to say what they consume."""
UNKNOWN = {
    "oldest_s": "how long tasks wait: RabbitMQ shows a message only by handing it out",
    "orphaned": "what silent workers hold: RabbitMQ does not say whose a message is; it gives all back within 45 s",
}
"""What AMQP does not say, of any RabbitMQ."""
UNMANAGED = {
    "other_queues": "queues that no role names: RabbitMQ lists them by its management API, asked of the fleet's own alone",
    "health": "RabbitMQ's memory, disk and nodes: its management API says, asked of the fleet's own alone",
}
"""What it does not say either if the management API is not reached."""
OF_THE_FLEET = (DEAD_LETTERS, DELIVERIES, "celery_delayed_", "celeryev.")
"""How the names of queues begin that hold no tasks of a user's."""


class Count(NamedTuple):
    """messages: that wait. consumers: of the queue."""

    messages: int
    consumers: int


@contextmanager
def opened(url: str, management: Management | None, patience: float) -> Iterator[RabbitPort]:
    """See `fleet.broker.port.opened`."""
    try:
        with connected(url, patience) as connection:
            yield RabbitPort(connection, url, management)
    except (AMQPError, OSError) as error:
        raise AwayError(explained(error, url)) from None


@contextmanager
def connected(url: str, patience: float) -> Iterator[Connection]:
    """An AMQP connection that has each message confirmed. url: without TLS, as `fleet.broker.connect` makes it. Raises AMQPError
    and OSError."""
    parts = urlsplit(url)
    connection = Connection(
        host=netloc(parts.hostname or "", parts.port or PORTS["amqp"]),
        userid=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        virtual_host=vhost_of(url),
        connect_timeout=patience,
        read_timeout=patience,
        write_timeout=patience,
        confirm_publish=True,
        client_properties={"connection_name": "fleet"},
    )
    try:
        connection.connect()
        yield connection
    finally:
        with suppress(AMQPError, OSError):
            connection.close()


def vhost_of(url: str) -> str:
    """The virtual host of a URL: what follows the first slash; "/" if nothing does."""
    return unquote(urlsplit(url).path[1:]) or "/"


def explained(error: BaseException, url: str) -> str:
    """An error of RabbitMQ's in one line, for people."""
    text = first_line(error)
    if "ACCESS_REFUSED" in text and "Login" in text:
        return "RabbitMQ refuses the user or the password"
    if "NOT_ALLOWED" in text and "vhost" in text:
        return f"RabbitMQ has no virtual host {vhost_of(url)}, or does not let the user in"
    return text


class RabbitPort:
    """See Port. It opens a channel when it needs one: an answer that there is no such queue closes it."""

    settings: Mapping[str, Any] = {}

    def __init__(self, connection: Any, url: str, management: Management | None) -> None:
        self.url, self._connection, self._management = url, connection, management
        self.unknown = UNKNOWN | ({} if management else UNMANAGED)
        self._channel: Any = None
        self._letters: tuple[int, Mapping[str, int]] = (0, {})

    @property
    def channel(self) -> Any:
        """A channel that is open."""
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
        return self._channel

    def count(self, queue: str) -> Count | None:
        """What a queue has; None if there is none of this name."""
        try:
            answer = self.channel.queue_declare(queue, passive=True)
            return Count(int(answer.message_count), int(answer.consumer_count))
        except NotFound:
            return None

    def leases(self) -> dict[str, float]:
        """There are none: RabbitMQ gives back what a worker holds when its connection ends."""
        return {}

    def moment(self, lease: float | None, queues: Iterable[str]) -> Moment:
        """Of the queues that are asked for, as far as there are such."""
        counts = {queue: count for queue in queues if (count := self.count(queue)) is not None}
        return Moment(
            at=time.time(),
            ages={queue: _waiting(count.messages) for queue, count in counts.items()},
            consumers={queue: count.consumers for queue, count in counts.items()},
            parked=self._parked(),
        )

    def _parked(self) -> Mapping[str, int]:
        """Queue → dead letters. To read them is to have each delivered: it is done only if there are more or less of them."""
        there = self.count(DEAD_LETTERS)
        number = there.messages if there else 0
        if number != self._letters[0]:
            self._letters = (number, Counter(letter["queue"] for letter in self.letters()))
        return self._letters[1]

    def held(self, holders: Iterable[str]) -> dict[str, Mapping[str, int]]:
        return {}

    def unconsumed(self, known: Collection[str]) -> dict[str, QueueAge]:
        """By the management API, of what it lists; the numbers are AMQP's."""
        others = {name: self.count(name) for name in self._listed() if name not in known}
        return {
            name: _waiting(count.messages) for name, count in others.items() if count and count.messages and not count.consumers
        }

    def _listed(self) -> set[str]:
        """The queues that the management API lists, and that may hold tasks of the user's; none if it does not answer."""
        if self._management is None:
            return set()
        try:
            names = {str(queue.get("name")) for queue in self._management.queues(vhost_of(self.url), "name")}
        except OSError:
            return set()
        return {name for name in names if is_of_tasks(name)}

    def length(self, queue: str) -> int:
        count = self.count(queue)
        return count.messages if count else 0

    def beat(self) -> BeatView:
        return BeatView(has_lock=False)

    def health(self) -> Health:
        problems: list[str] = []
        if self._management:
            try:
                problems = self._management.problems(vhost_of(self.url))
            except OSError as error:
                problems = [f"RabbitMQ's management API does not answer: {first_line(error)}"]
        return Health("; ".join(problems))

    def present(self, nodes: Iterable[str]) -> dict[str, bool]:
        return {node: self._is_present(node) for node in nodes}

    def _is_present(self, node: str) -> bool:
        """Whether a worker has a connection: it consumes its queue for remote control then. After it falls silent, RabbitMQ
        believes for 45 s at most that it is there."""
        try:
            count = self.count(f"{node}.celery.pidbox")
        except ResourceLocked:
            return True  # Celery 5.7 has it for its connection alone, with which it goes
        return bool(count and count.consumers)

    def view(self, queues: Iterable[str]) -> BrokerView:
        """Of these queues, and of those that workers consume."""
        from celery import Celery

        names = set(queues)
        with Celery(broker=self.url, set_as_current=False) as app:
            answers = app.control.inspect(timeout=ANSWER).active_queues() or {}
            signs = app.control.inspect(timeout=ANSWER)._request("fleet_sign", counts=False) or {} if answers else {}
        workers = {node: tuple(str(queue["name"]) for queue in consumed) for node, consumed in answers.items()}
        names |= {queue for consumed in workers.values() for queue in consumed}
        listed = self._listed()
        names |= listed
        counts = {name: count for name in names if (count := self.count(name))}
        held = Counter[str]()
        for sign in signs.values():
            for queue, numbers in (sign.get("held") or {}).items() if isinstance(sign, dict) else ():
                held[queue] += sum(numbers)
        consumed_now = {name for name, count in counts.items() if count.consumers} | {
            queue for consumed in workers.values() for queue in consumed
        }
        return BrokerView(
            waiting={name: count.messages for name, count in counts.items() if count.messages and is_public(name)},
            held={queue: number for queue, number in held.items() if number and is_public(queue)},
            consumed=tuple(sorted(filter(is_public, consumed_now))),
            workers=workers,
            whole=bool(listed),
        )

    def letters(self) -> list[ParkedTask]:
        return rabbitmq_letters.read(self._connection)

    def requeue(self, letters: Sequence[ParkedTask]) -> int:
        return rabbitmq_letters.requeue(self._connection, letters, self.count)

    def drop(self, letters: Sequence[ParkedTask]) -> int:
        return rabbitmq_letters.drop(self._connection, letters)


def _waiting(messages: int) -> QueueAge:
    return QueueAge({0: messages} if messages else {}, None, is_aged=False)


def is_of_tasks(queue: str) -> bool:
    """Whether a queue may hold tasks of the user's: none of remote control, of the fleet, or of one worker."""
    return is_public(queue) and not queue.startswith(OF_THE_FLEET) and not queue.endswith(".celery.pidbox")
