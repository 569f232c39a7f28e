"""What a RabbitMQ is, and what it refuses: asked by doing it, before a deploy changes anything.

`python -m fleet.broker.probe_rabbitmq` reads the broker's URL on stdin, and the names of queues in the lines after it, and prints
a RabbitServer as JSON (`fleet.broker.aside`). It leaves nothing behind.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from amqp import Connection, Message
from amqp.exceptions import AccessRefused, AMQPError, NotAllowed, NotFound, PreconditionFailed

from fleet.broker import aside
from fleet.broker.verdict import ProbeError, Verdict
from fleet.spec.urls import parse

PATIENCE = 15.0
"""Seconds for RabbitMQ to take a connection, and to confirm a message."""
OLDEST = (3, 10)
"""The oldest RabbitMQ whose quorum queues let messages expire, as Celery's delayed delivery needs it, and whose dead letters of
quorum queues are not lost on their way."""
FIRST_WITH_LIMIT = (4, 0)
"""From here on, a quorum queue throws away what came back 20 times, unless a policy says otherwise."""
PIDBOX = "celery.pidbox"
"""The exchange by which workers are asked."""
QUORUM = {"x-queue-type": "quorum"}
COUNT = "x-delivery-count"
ALARM = "alarm"
"""What is tried by whoever publishes, while RabbitMQ has too little memory or disk."""
_DIFFERS = re.compile(r"inequivalent arg '([^']+)'.*but current is (?:the value )?'?([\w.-]+)")


@dataclass(frozen=True)
class RabbitServer:
    """A RabbitMQ, or what speaks like one. forbidden: what was tried → the answer, of what it refuses. queues: queue → how it is
    declared otherwise than workers declare it ("x-queue-type" → "classic"), of those that are there."""

    product: str = ""
    version: str = ""
    forbidden: Mapping[str, str] = field(default_factory=dict)
    queues: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    counts: bool = True
    """Whether a message that was given back says how often."""


NEEDED = {
    "configure": "workers cannot declare the queues of dead letters and of a drill: allow to configure fleet\\..*",
    "write": "tasks cannot be queued: allow to write to the app's queues, to its exchanges, fleet\\..* and amq\\.default",
    "read": "workers get no tasks: allow to read the app's queues and fleet\\..*",
    "remote control": "no worker can be drained, asked or stopped: allow to configure, write and read .*celery\\.pidbox",
}
"""What the fleet cannot do without → what then is so, and what to allow."""
USEFUL = {
    "delayed delivery": "workers hold tasks with an ETA themselves, and each deploy gives them back: allow to configure, write "
    "and read celery_delayed_.*",
}
"""What the fleet can do without → what is lost."""


def judge(server: RabbitServer, is_ours: bool = False, is_restarted: bool = False) -> Verdict:
    """Whether the fleet can use a server. is_ours: whether its policies are the fleet's. is_restarted: whether the run that asks
    restarts it, perhaps to give it more room. Pure."""
    forbidden = server.forbidden
    alarms = [f"it takes no tasks, from anybody, until it has room again: {forbidden[ALARM]}"] if ALARM in forbidden else []
    errors = [] if is_restarted else [*alarms]
    errors += [f"{what} is refused ({forbidden[what]}): {why}" for what, why in NEEDED.items() if what in forbidden]
    losses = alarms if is_restarted else []
    losses += [f"{what} is refused ({forbidden[what]}): {why}" for what, why in USEFUL.items() if what in forbidden]
    version = _version(server.version)
    if server.product != "RabbitMQ":
        losses.append(f"it calls itself {server.product or 'nothing'}, and not RabbitMQ: the fleet is tried with RabbitMQ alone")
    elif version < OLDEST:
        errors.append(
            f"RabbitMQ {server.version} is too old: the fleet needs {'.'.join(map(str, OLDEST))} or later, whose quorum queues "
            "let messages expire"
        )
    elif version >= FIRST_WITH_LIMIT and not is_ours:
        losses.append(
            "RabbitMQ 4 throws a task away that came back 20 times, as those do that wait for their ETA in a worker, unless a "
            "policy for the app's queues has a delivery-limit and a dead-letter-exchange (docs/brokers.md)"
        )
    if not errors and not server.counts:
        errors.append("it does not count how often a message came back: tasks that kill their worker would circle for ever")
    for queue, (argument, value) in sorted(server.queues.items()):
        if argument == "x-queue-type":
            errors.append(
                f"the queue {queue} is there as a {value} queue, mirrored or not, and workers declare it as a quorum queue: let "
                'its tasks run out and delete it, or keep it: left_to_app = ["task_default_queue_type"], and lint_ignore = '
                '{"queue-not-quorum": "…"} (docs/brokers.md)'
            )
        elif argument == "x-max-priority":
            errors.append(f"the queue {queue} is there with priorities, which no quorum queue has: delete it when it is empty")
    return Verdict(tuple(errors), tuple(losses))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def probe(url: str, queues: Iterable[str] = (), timeout: float = 60) -> RabbitServer:
    """Ask in a process of its own. queues: that workers will declare as quorum queues. Raises ProbeError
    and RefusedError."""
    answer = aside.ask("fleet.broker.probe_rabbitmq", "\n".join((url, *queues)), timeout, ProbeError)
    return RabbitServer(**{**answer, "queues": {queue: tuple(pair) for queue, pair in answer["queues"].items()}})


def ask(text: str) -> RabbitServer:
    """Ask in this process. text: the URL, and queues in the lines after it. Raises AMQPError and OSError."""
    url, *queues = text.split("\n")
    server = parse(url)
    alarms: list[str] = []
    connection = Connection(
        server.netloc,
        server.user or "guest",
        server.password or "guest",
        virtual_host=server.path,
        connect_timeout=PATIENCE,
        read_timeout=PATIENCE,
        write_timeout=PATIENCE,
        confirm_publish=True,
        on_blocked=alarms.append,
    )
    try:
        connection.connect()
        properties = connection.server_properties
        refused: dict[str, str] = {}
        # Asked first: nothing more is read of a connection that has published in an alarm.
        declared = {queue: how for queue in queues if (how := _declared_otherwise(connection, queue))}
        _tried(refused, "remote control", lambda: _try_remote_control(connection))
        _tried(refused, "delayed delivery", lambda: _try_exchange(connection, f"celery_delayed_{_name()}", "topic"))
        try:
            counts = _try_a_queue(connection, refused)
        except TimeoutError:
            refused, counts = {ALARM: alarms[0] if alarms else f"nothing is confirmed in {PATIENCE:g} s"}, True
        return RabbitServer(str(properties.get("product")), str(properties.get("version")), refused, declared, counts)
    finally:
        connection.collect()  # in order, it would wait for an answer


def _name() -> str:
    return f"fleet.tried.{secrets.token_hex(8)}"


def _tried(refused: dict[str, str], what: str, do: Callable[[], Any]) -> Any:
    """What `do` gives; None if it is refused."""
    try:
        return do()
    except AMQPError as error:
        refused[what] = str(getattr(error, "message", "") or error).strip()
        return None


@contextmanager
def _channel(connection: Any) -> Iterator[Any]:
    """A channel of its own: RabbitMQ closes one on which it refuses something."""
    channel = connection.channel()
    try:
        yield channel
    finally:
        with suppress(AMQPError, OSError):
            channel.close()


def _try_a_queue(connection: Any, refused: dict[str, str]) -> bool:
    """Declare, fill, read and delete a queue like the fleet's, which expires otherwise. Returns whether a message counts how
    often it came back. Raises TimeoutError if RabbitMQ takes no message."""
    name, counts = _name(), True

    def declare() -> bool:
        with _channel(connection) as channel:
            channel.queue_declare(name, durable=True, auto_delete=False, arguments={**QUORUM, "x-expires": 60_000})
        return True

    def write() -> None:
        with _channel(connection) as channel:
            channel.basic_publish(Message(b"", delivery_mode=2), routing_key=name, confirm_timeout=PATIENCE)

    def read() -> bool:
        with _channel(connection) as channel:
            if message := channel.basic_get(name):
                channel.basic_reject(message.delivery_tag, requeue=True)
            again = channel.basic_get(name, no_ack=True)
            return not again or COUNT in (again.properties.get("application_headers") or {})

    if _tried(refused, "configure", declare):
        _tried(refused, "write", write)
        counts = _tried(refused, "read", read) is not False
    _delete(connection, name)
    return counts


def _delete(connection: Any, queue: str) -> None:
    with suppress(AMQPError), _channel(connection) as channel:
        channel.queue_delete(queue)


def _try_remote_control(connection: Any) -> None:
    """Do as one does who asks a worker: an exchange for questions, and a queue for answers."""
    with _channel(connection) as channel:
        try:
            channel.exchange_declare(PIDBOX, "fanout", passive=True)
            was_there = True
        except NotFound:
            was_there = False
    name = f"{_name()}.reply.{PIDBOX}"
    try:
        with _channel(connection) as channel:
            if not was_there:
                channel.exchange_declare(PIDBOX, "fanout", durable=False, auto_delete=False)
            channel.queue_declare(name, durable=False, auto_delete=False, arguments={"x-expires": 60_000})
            channel.queue_bind(name, PIDBOX)
            channel.basic_get(name, no_ack=True)
    finally:
        _delete(connection, name)
        if not was_there:
            with suppress(AMQPError), _channel(connection) as channel:
                channel.exchange_delete(PIDBOX, if_unused=True)


def _try_exchange(connection: Any, name: str, kind: str) -> None:
    with _channel(connection) as channel:
        channel.exchange_declare(name, kind, durable=True, auto_delete=False)
        channel.exchange_delete(name)


def _declared_otherwise(connection: Any, queue: str) -> tuple[str, str] | None:
    """How a queue that is there differs from how a worker declares it: an argument, and its value; None if it does not."""
    try:
        with _channel(connection) as channel:
            channel.queue_declare(queue, passive=True)
        with _channel(connection) as channel:
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments=QUORUM)
    except NotFound:
        return None
    except PreconditionFailed as error:
        match = _DIFFERS.search(str(error))
        return (match[1], match[2].replace("none", "classic")) if match else None
    except AMQPError:
        return None  # that the user may not is said of others
    return None


def explain(error: Exception) -> str:
    """What the user reads if RabbitMQ could not be asked."""
    text = str(getattr(error, "message", "") or error)
    if isinstance(error, AccessRefused):
        return f"it refuses the user or the password: {text}"
    if isinstance(error, NotAllowed):
        if "not found" in text:
            return f"it has no such virtual host: {text}; make it, or write another after the address"
        return f"the user may not use the virtual host: {text}"
    return f"the broker does not answer: {(text.splitlines() or [''])[0] or type(error).__name__}"


if __name__ == "__main__":
    sys.exit(aside.answer(ask, explain, (AccessRefused, NotAllowed)))
