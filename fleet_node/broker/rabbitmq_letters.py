"""Dead letters in RabbitMQ: the queue DEAD_LETTERS, which nobody consumes.

How often a message came back, a quorum queue counts itself: x-delivery-count among its headers. That is more often than it was
begun: whatever a worker has fetched comes back when it stops. So the count only makes a message a suspect. A suspect that begins
leaves a mark, a queue named after its task, which goes when the task has ended in order. If the suspect comes back and its mark
is there, it is parked. A classic queue counts nothing, and of its messages none is a suspect.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from fleet_node.protocol import DEAD_LETTERS, DEAD_LETTERS_ARGUMENTS, DELIVERIES, PARKED_HEADER, ParkedHeader

MARK = {"x-queue-type": "quorum", "x-expires": 7 * 86_400_000}
"""Arguments of a mark: it is not needed for longer than a week."""
COUNT = "x-delivery-count"
"""Header of a message from a quorum queue: how often it came back."""
PATIENCE = 5.0
"""Seconds for RabbitMQ to take a connection, and to confirm a message."""
READ_FOR = 10.0
"""Seconds for which a worker that starts looks for dead letters of tasks that it has."""
AGAIN = 10.0
"""Seconds after which it looks once more."""

_log = logging.getLogger("celery.worker.fleet")
T = TypeVar("T")


class RabbitLetters:
    """See DeadLetters. app: a Celery app whose broker they are of."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._connection: Any = None
        self._lock = threading.Lock()

    def count(self) -> int:
        return self._try(lambda channel: int(_declare(channel).message_count), 0, logging.DEBUG, "not counted")

    def park(self, message: Any, worker: str, begun: int, reason: str, unknown: bool = False) -> bool:
        about: ParkedHeader = {
            "queue": queue_of(message),
            "redelivered": begun,
            "reason": reason,
            "worker": worker,
            "at": round(time.time(), 3),
            "unknown": unknown,
        }
        content = copy_of(message.body, message.properties, {PARKED_HEADER: json.dumps(about)})

        def publish(channel: Any) -> bool:
            _declare(channel)
            channel.basic_publish(content, routing_key=DEAD_LETTERS, confirm_timeout=PATIENCE)
            return True

        task = message.headers.get("task")
        if not self._try(publish, False, logging.ERROR, f"{task}[{message.headers.get('id')}] cannot be parked"):
            return False
        self.forget(message)
        return True

    def send_unknown_again(self, app: Any) -> int:
        """Now, and once more later: while somebody reads the dead letters, as `fleet top` does, none is there."""
        later = threading.Timer(AGAIN, self._send_unknown_again, (app,))
        later.daemon = True
        later.start()
        return self._send_unknown_again(app)

    def _send_unknown_again(self, app: Any) -> int:
        sent = self._try(lambda channel: _send_again(channel, app.tasks), 0, logging.WARNING, "unknown tasks stay parked")
        if sent:
            _log.warning("%s parked tasks that another release did not have are sent again", sent)
        return sent

    def deliveries(self, message: Any, most: int) -> tuple[int, str]:
        came_back = _came_back(message)
        if came_back <= most:
            return 0, ""
        return self._try(lambda channel: _read_mark(channel, message, came_back - 1), (0, ""), logging.WARNING, "no mark is read")

    def record(self, message: Any, most: int, begun: int, reason: str = "") -> None:
        if _came_back(message) < most:
            return

        def mark(channel: Any) -> None:
            channel.queue_declare(_mark(message), durable=True, auto_delete=False, arguments=MARK)
            if reason:
                channel.basic_publish(copy_of(reason, {}), routing_key=_mark(message), confirm_timeout=PATIENCE)

        self._try(mark, None, logging.WARNING, f"{message.headers.get('id')}: that it came again is not counted")

    def forget(self, message: Any) -> None:
        if _came_back(message):
            self._try(lambda channel: channel.queue_delete(_mark(message)), None, logging.DEBUG, "a mark stays for a week")

    def _try(self, do: Callable[[Any], T], otherwise: T, level: int, failure: str) -> T:
        """What `do` gives of a channel, with a new connection if the last one is gone; `otherwise` if RabbitMQ refuses."""
        with self._lock:
            for is_last in (self._connection is None, True):
                try:
                    channel = self._connect().channel()
                    try:
                        return do(channel)
                    finally:
                        if channel.is_open:
                            channel.close()
                except Exception as error:  # of amqp, or of the system
                    self._drop()
                    if is_last:
                        _log.log(level, "%s: %r", failure, error)
                        return otherwise
        raise AssertionError

    def _connect(self) -> Any:
        if self._connection is None:
            self._connection = self._app.connection_for_write(connect_timeout=PATIENCE)
            options = {"confirm_publish": True, "read_timeout": PATIENCE, "write_timeout": PATIENCE}
            self._connection.transport_options.update(options)
        return self._connection.connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect()


def copy_of(body: Any, properties: Any, headers: Any = None) -> Any:
    """A message for basic_publish, like one that was received. headers: more of them."""
    from amqp import Message

    properties = {name: value for name, value in properties.items() if value is not None}
    own = {name: value for name, value in (properties.pop("application_headers", None) or {}).items() if name not in DROPPED}
    properties.setdefault("delivery_mode", 2)
    return Message(body, application_headers={**own, **(headers or {})}, **properties)


DROPPED = (COUNT, "x-acquired-count", "compression")
"""Headers that are not copied: what RabbitMQ has counted, and that the body was compressed, which kombu has undone."""


def queue_of(message: Any) -> str:
    """The queue that a worker has received a kombu message from: `fleet_node.patches.queue_names` has written it down."""
    info = message.delivery_info
    return str(info.get("fleet_queue") or info.get("routing_key") or "")


def _declare(channel: Any) -> Any:
    return channel.queue_declare(DEAD_LETTERS, durable=True, auto_delete=False, arguments=DEAD_LETTERS_ARGUMENTS)


def _came_back(message: Any) -> int:
    count = (message.headers or {}).get(COUNT)
    return count if isinstance(count, int) else 0


def _mark(message: Any) -> str:
    return f"{DELIVERIES}{message.headers.get('id')}"


def _read_mark(channel: Any, message: Any, begun: int) -> tuple[int, str]:
    from amqp.exceptions import NotFound

    reason = ""
    try:
        while said := channel.basic_get(_mark(message), no_ack=True):
            reason = str(said.body)
    except NotFound:
        return 0, ""
    return begun, reason


def _send_again(channel: Any, tasks: Any) -> int:
    """Move what was parked as unknown and is among `tasks` to its queues. The rest goes back when the channel closes."""
    sent, deadline = 0, time.monotonic() + READ_FOR
    for _ in range(_declare(channel).message_count):
        message = channel.basic_get(DEAD_LETTERS)
        if message is None or time.monotonic() > deadline:
            break
        headers = message.properties.get("application_headers") or {}
        about = json.loads(headers.get(PARKED_HEADER) or "{}")
        if about.get("unknown") and headers.get("task") in tasks and _exists(channel, about["queue"]):
            del headers[PARKED_HEADER]
            channel.basic_publish(copy_of(message.body, message.properties), routing_key=about["queue"], confirm_timeout=PATIENCE)
            channel.basic_ack(message.delivery_tag)
            sent += 1
    return sent


def _exists(channel: Any, queue: str) -> bool:
    from amqp.exceptions import NotFound

    asking = channel.connection.channel()
    try:
        asking.queue_declare(queue, passive=True)
        return True
    except NotFound:
        return False
    finally:
        if asking.is_open:
            asking.close()
