"""A benchmark of workers that run: its tasks come to queues of its own, which the workers consume while it runs."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from redis import Redis

from fleet.broker.announcing import Announcer, sender
from fleet.capacity.bench.account import Step, account
from fleet.capacity.bench.arrivals import Load
from fleet.capacity.bench.producer import Producers
from fleet.errors import FleetError
from fleet_node.protocol import BELL, BENCH_QUEUE, DRILL_LEDGER

ANSWER = 10.0
"""Seconds for a worker to answer."""
PATIENCE = 20.0
"""Seconds in which no task ends, after which those that are left count as lost."""
LOOK = 0.1
KEEP_EVERY = 10.0
"""Seconds."""
CLOCK_TRIES = 5


class BenchError(FleetError):
    """Workers that do not answer."""

    exit_code = 2


class Bench:
    """A benchmark, while the context lasts. Afterwards its queues are gone, and so is what was left in them.

    url: of the broker; ledger: of the Redis in which tasks write down what they did. nodes: role → its workers.
    """

    def __init__(self, url: str, ledger: str, nodes: Mapping[str, Sequence[str]]) -> None:
        self._nodes = nodes
        self._run = uuid.uuid4().hex[:12]
        self._ledger = f"{DRILL_LEDGER}{self._run}"
        self._app = sender(url)
        self._redis = Redis.from_url(ledger)
        self._announcer = Announcer(ledger, self._run)
        self._producers = Producers(url)
        self._stack = ExitStack()
        self._next = 0
        self._kept = -math.inf

    def __enter__(self) -> Bench:
        with ExitStack() as stack:
            stack.callback(self._close)
            stack.callback(self._announcer.withdraw)
            stack.callback(self._redis.delete, self._ledger)
            stack.callback(self._forget)
            self._keep()
            self._ahead = self._clock()
            stack.enter_context(self._producers)  # the first to end: what they send after that would stay
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def slots(self, role: str) -> int:
        """Tasks that a role's workers run at once, as they say themselves."""
        nodes = list(self._nodes[role])
        stats = self._app.control.inspect(destination=nodes, timeout=ANSWER, limit=len(nodes)).stats()
        return sum(int(of["pool"]["max-concurrency"]) for of in (stats or {}).values())

    def step(self, role: str, load: Load) -> Step:
        """Send a load to a role's workers, and account for each task."""
        self._keep()
        self._redis.delete(self._ledger)
        first = self._next
        self._next += load.number
        sent = self._producers.send(self._run, queue_of(role), load, first)
        self._wait(len(sent.due), load.seconds)
        entries = [json.loads(line) for line in self._redis.lrange(self._ledger, 0, -1)]
        due = {number: at + self._ahead for number, at in sent.due.items()}
        return account(load, due, sent.late, [tuple(entry) for entry in entries])

    def _wait(self, number: int, seconds: float) -> None:
        """Until so many tasks have ended, or none does any more."""
        ended, last = -1, time.monotonic()
        while (now := int(self._redis.llen(self._ledger))) < number:
            if now > ended:
                ended, last = now, time.monotonic()
            if time.monotonic() - last > PATIENCE + 2 * seconds:
                return
            self._keep()
            time.sleep(LOOK)

    def _keep(self) -> None:
        """Have it go on: its announcement ends by itself, and a worker that reconnects has forgotten the queue (celery#7733)."""
        if time.monotonic() - self._kept > KEEP_EVERY:
            self._announcer.announce()
            self._consume()
            self._kept = time.monotonic()

    def _consume(self) -> None:
        for role, nodes in self._nodes.items():
            queue = queue_of(role)
            answers = self._app.control.add_consumer(queue, exchange="", routing_key=queue, **self._to(nodes))
            answered = {node for answer in answers or () for node in answer}
            if silent := sorted(set(nodes) - answered):
                raise BenchError(f"{', '.join(silent)} does not answer in {ANSWER:.0f} s: fleet load says why")

    def _forget(self) -> None:
        """Have workers consume it no more, and delete what is left. RabbitMQ ends the connection of a worker that still does."""
        for role, nodes in self._nodes.items():
            self._app.control.cancel_consumer(queue_of(role), **self._to(nodes))
            self._wait_until_ignored(role)
            with self._app.connection_for_write() as connection:
                channel = connection.default_channel
                if connection.transport.driver_type == "redis":  # of which kombu deletes only queues that this process has bound
                    channel.queue_purge(queue_of(role))
                    channel.client.delete(f"{BELL}{queue_of(role)}")
                channel.queue_delete(queue_of(role))

    def _wait_until_ignored(self, role: str) -> None:
        """Until a role's workers consume the queue no more: they answer before they have done what they were asked for."""
        nodes, deadline = list(self._nodes[role]), time.monotonic() + ANSWER
        while time.monotonic() < deadline:
            queues = self._app.control.inspect(destination=nodes, timeout=ANSWER, limit=len(nodes)).active_queues() or {}
            if not any(queue["name"] == queue_of(role) for of in queues.values() for queue in of):
                return
            time.sleep(LOOK)

    def _to(self, nodes: Sequence[str]) -> dict[str, Any]:
        return {"destination": list(nodes), "reply": True, "timeout": ANSWER, "limit": len(nodes)}

    def _clock(self) -> float:
        """By how many seconds Redis' clock is ahead of this machine's. The quickest answer counts."""
        answers = []
        for _ in range(CLOCK_TRIES):
            before = time.time()
            seconds, micros = self._redis.time()
            after = time.time()
            answers.append((after - before, seconds + micros / 1e6 - (before + after) / 2))
        return min(answers)[1]

    def _close(self) -> None:
        self._announcer.close()
        self._redis.close()
        self._app.close()


def queue_of(role: str) -> str:
    """The queue of a benchmark that a role's workers consume."""
    return f"{BENCH_QUEUE}{role}"
