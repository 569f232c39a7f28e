"""Reads a RabbitMQ once: the lengths of queues whose names are known, and what workers say when they are asked. Nothing is
changed, and no task is read.

Workers write nothing down there, so they are asked as `celery inspect` asks them, with Debian's py-amqp. A worker that is
connected and does not answer, since a task keeps it from it, counts as there, with what it last said.
"""

from __future__ import annotations

import json
import time
import uuid
from base64 import b64encode
from collections.abc import Collection, Mapping
from http.client import OK, HTTPConnection, HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit

from amqp import Connection, Message
from amqp.exceptions import AMQPError, NotFound, ResourceLocked

from fleet_exporter.entries import label, sign_of
from fleet_exporter.reading import MOST_QUEUES, PATIENCE, Reading
from fleet_node.protocol import DEAD_LETTERS, PROBE_TASK, WorkerSign

MAILBOX = "celery.pidbox"
"""Exchange of kombu's to which all workers listen, and the end of the names of their queues."""
ANSWER = 1.0
"""Seconds that workers have to answer."""
LEASE = 60.0
"""Seconds for which a worker that answers, or is connected, counts as there: until the next scrape."""
FORGOTTEN = 600.0
"""Seconds after which nothing is known any more of a worker that has ended."""
PORTS = {"amqp": 5672, "amqps": 5671}


class RabbitReader:
    """Reads one broker. It keeps its connection. url: of one node or, with ; between them, of several: the first that answers is
    asked. use_ssl: Celery's broker_use_ssl, if there is TLS. queues, nodes: queues and workers that are asked for in any case.
    management: port of the management API on this machine; None if there is none."""

    def __init__(
        self,
        url: str,
        use_ssl: Mapping[str, Any] | None,
        queues: Collection[str] = (),
        nodes: Collection[str] = (),
        management: int | None = None,
    ) -> None:
        self._management = management
        self._urls, self._ssl, self._queues, self._nodes = url.split(";"), use_ssl, queues, nodes
        self._connection: Any = None
        self._channel: Any = None
        self._signs: dict[str, tuple[str, WorkerSign, float]] = {}
        self._asked = 0

    def read(self) -> Reading:
        """All of it. Raises OSError."""
        for is_last in (self._connection is None, True):
            try:
                return self._read()
            except (AMQPError, OSError) as error:
                self._drop()
                if is_last:
                    raise OSError(_explained(error)) from None
        raise AssertionError

    def _read(self) -> Reading:
        self._asked = 0
        self._connect()
        now = time.time()
        for sign in self._answers():
            node = label(sign["node"])
            # Its clock is its machine's.
            self._signs[node] = (f"{node}|{sign['started_at']:.0f}|||", {**sign, "at": now}, now)
        present = {node: self._is_present(node) for node in dict.fromkeys((*self._nodes, *self._signs))}
        self._signs = {node: known for node, known in self._signs.items() if present[node] or now - known[2] < FORGOTTEN}
        queues = dict.fromkeys((*self._queues, *(queue for _, sign, _ in self._signs.values() for queue in sign["queues"])))
        public = [queue for queue in queues if not (queue.startswith(f"{PROBE_TASK}.") or queue.endswith(".dq2"))]
        counts = {queue: count for queue in public[:MOST_QUEUES] if (count := self._count(queue))}
        dead = self._count(DEAD_LETTERS)
        holders = {node: known[0] for node, known in self._signs.items()}
        return Reading(
            now=now,
            signs={holder: sign for holder, sign, _ in self._signs.values()},
            leases={
                holders.get(node, f"{node}||||"): now + LEASE if is_there else now
                for node, is_there in present.items()
                if is_there or node in holders
            },
            lists={label(queue): {label(queue): messages} for queue, (messages, _) in counts.items()},
            consumers={label(queue): consumers for queue, (_, consumers) in counts.items()},
            parked=dead[0] if dead else 0,
            is_aged=False,
            nodes=self._report(),
            commands=self._asked,
        )

    def _report(self) -> list[dict[str, Any]]:
        """What the management API says of RabbitMQ's nodes; nothing if it does not answer."""
        if self._management is None:
            return []
        parts = urlsplit(self._urls[0])
        key = b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()).decode()
        connection = HTTPConnection("127.0.0.1", self._management, timeout=PATIENCE)
        try:
            connection.request("GET", "/api/nodes", headers={"Authorization": f"Basic {key}"})
            answer = connection.getresponse()
            report = json.loads(answer.read()) if answer.status == OK else []
        except (OSError, HTTPException, ValueError):
            return []
        finally:
            connection.close()
        return [node for node in report if isinstance(node, dict)] if isinstance(report, list) else []

    def _connect(self) -> None:
        if self._connection is not None:
            return
        for url in self._urls:
            parts = urlsplit(url)
            address = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            connection = Connection(
                host=f"{address}:{parts.port or PORTS[parts.scheme]}",
                userid=unquote(parts.username or "guest"),
                password=unquote(parts.password or "guest"),
                virtual_host=unquote(parts.path[1:]) or "/",
                ssl=dict(self._ssl) if self._ssl else parts.scheme == "amqps",
                connect_timeout=PATIENCE,
                read_timeout=PATIENCE,
                write_timeout=PATIENCE,
                client_properties={"connection_name": "fleet-exporter"},
            )
            try:
                connection.connect()
            except (AMQPError, OSError):
                connection.collect()
                if url == self._urls[-1]:
                    raise
                continue
            self._connection = connection
            return

    def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.collect()

    def _open(self) -> Any:
        """A channel that is open: an answer that there is no such queue closes it."""
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
        return self._channel

    def _count(self, queue: str) -> tuple[int, int] | None:
        """(messages that wait, consumers) of a queue; None if there is none of this name."""
        self._asked += 1
        try:
            answer = self._open().queue_declare(queue, passive=True)
            return int(answer.message_count), int(answer.consumer_count)
        except NotFound:
            return None

    def _is_present(self, node: str) -> bool:
        """Whether a worker has a connection. After it falls silent, RabbitMQ believes for 45 s at most that it is there."""
        try:
            count = self._count(f"{node}.{MAILBOX}")
        except ResourceLocked:
            return True  # it is the connection's own, and goes with it
        return bool(count and count[1])

    def _answers(self) -> list[WorkerSign]:
        """What workers say, as they are asked now."""
        self._asked += 1
        channel = self._connection.channel()
        try:
            own = f"fleet-exporter-{uuid.uuid4().hex[:12]}.reply.{MAILBOX}"
            channel.queue_declare(own, exclusive=True, auto_delete=True)
            replies: list[Any] = []
            channel.basic_consume(own, no_ack=True, callback=replies.append)
            question = {
                "method": "fleet_sign",
                "arguments": {"counts": True},
                "destination": None,
                "pattern": None,
                "matcher": None,
                "ticket": uuid.uuid4().hex,
                # By the default exchange: workers need no other one for it.
                "reply_to": {"exchange": "", "routing_key": own},
            }
            content = Message(
                json.dumps(question),
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=1,
                application_headers={"clock": 1, "expires": time.time() + 2 * ANSWER},
            )
            channel.basic_publish(content, exchange=MAILBOX)
            self._wait(replies)
        except NotFound:
            return []  # no worker has ever been there
        finally:
            if channel.is_open:
                channel.close()
        answers = (_loaded(message.body) for message in replies)
        return [sign for answer in answers for text in answer.values() if (sign := sign_of(text))]

    def _wait(self, replies: list[Any]) -> None:
        """Wait until all workers have answered that answered the last time, or for ANSWER."""
        deadline = time.monotonic() + ANSWER
        while (left := deadline - time.monotonic()) > 0:
            if self._signs and len(replies) >= len(self._signs) and len(replies) >= len(self._nodes):
                return
            try:
                self._connection.drain_events(timeout=left)
            except TimeoutError:
                return


def _loaded(body: Any) -> dict[str, Any]:
    """A reply: {node: sign}."""
    try:
        answer = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _explained(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "RabbitMQ refuses the user or the password" if "ACCESS_REFUSED" in text and "Login" in text else text
