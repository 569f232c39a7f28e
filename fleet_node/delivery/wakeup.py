"""Wakes one idle worker for each message, and not all of them.

A worker whose queues are empty waits for a token in the bell of one of its queues; Redis hands it to who has waited longest. One
worker in the whole fleet listens: Redis tells it what comes into which list (notify-keyspace-events), and it rings that queue's
bell. Every two seconds it says on a channel that it is there, which costs the others no command; if it does not, another asks on
the same channel, and takes its place if it hears its own question and no answer. If a token goes to a worker that has just died,
nothing is lost: the listener looks two seconds later which queues are not empty. If Redis does not notify, it looks ten times a
second.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterable
from typing import Any

from redis import Redis, RedisError
from redis.exceptions import OutOfMemoryError

from fleet_node.delivery.bells import ENDS_AFTER, UNHEARD_AFTER, Bells
from fleet_node.delivery.clients import database_of
from fleet_node.delivery.holdings import Holdings, uptime
from fleet_node.delivery.native import Thread
from fleet_node.delivery.scripts import TAKE_OVER

WAIT, WAIT_ALONE = 30, 1
"""Seconds for which a worker waits for a bell: if there is a listener for its queues, and if there is none. A connection that is
silent for longer is dropped."""
SILENT_AFTER = 2.4
"""Seconds without a sign of the listener after which a worker asks whether it is there. It gives one every 2 s."""
ANSWERED_IN = 0.3
"""Seconds after which a listener that is asked has answered."""
SAY_AGAIN = 600.0
"""Seconds after which a worker says again which queues it consumes."""
AT_ONCE = 1000
"""Messages that are heard, at most, before what is due is done."""
RETRY = 0.5
"""Seconds until the next attempt if Redis does not answer."""
QUESTION = json.dumps({"lists": True})
"""What a worker says on the channel that has come, consumes other queues than before, or asks for the listener: who answers."""

_log = logging.getLogger("celery.worker.fleet")


class Wakeup:
    """One worker's part: it waits, and may be the listener."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._lists_of: dict[int, frozenset[tuple[str, str]]] = {}
        self._said = frozenset[tuple[str, str]]()
        self._said_at = float("-inf")
        self._covered = frozenset[str]()
        self._beat_at = self._stand_at = float("-inf")
        """Seconds since the machine's start at which the listener was heard, and after which its place may be free."""
        self._client: Redis | None = None
        self._ringer: Redis | None = None
        self._events: Any = None
        self._bells: Bells | None = None
        self._heard_at = float("-inf")
        """Seconds since the machine's start at which something was heard on the channel."""
        self._asked_at: float | None = None
        """The same of the question whether there is a listener, while it is not answered."""
        self._silent: str | None = None
        """Who is the listener as Redis knows it, of whom nothing is heard."""
        self._thread: Thread | None = None
        self._full = False
        """Whether Redis was full the last time."""

    @property
    def is_listened(self) -> bool:
        """Whether there is a listener that rings for each queue of this worker."""
        heard = self._bells is not None or uptime() - self._beat_at < SILENT_AFTER
        return heard and self._covered.issuperset(queue for queue, _ in self._lists)

    @property
    def patience(self) -> int:
        """Seconds for which the worker waits for a bell."""
        return WAIT if self.is_listened else WAIT_ALONE

    def consumes(self, channel: int, lists: Iterable[tuple[str, str]]) -> None:
        """A channel of the worker, by its number, fetches from these: (queue, list)."""
        self._lists_of[channel] = frozenset(lists)

    @property
    def _lists(self) -> frozenset[tuple[str, str]]:
        return frozenset().union(*tuple(self._lists_of.values()))

    def ring(self, name: str) -> None:
        """Ring a queue's bell, or a channel's. Nothing is lost if Redis does not answer."""
        if self._ringer:
            try:
                self._ringer.zadd(self._holdings.keys.bell(name), {"token": 1})
            except (RedisError, OSError) as error:
                _log.debug("bell of %s: %s", name, error)

    def connect(self, client: Redis, ringer: Redis) -> None:
        """The worker has a new connection; the thread uses `client`, and the worker's main loop `ringer`."""
        self._client, self._ringer = client, ringer
        self._drop()

    def start(self) -> None:
        """Start the thread."""
        self._thread = Thread(self._step, self._end)

    def stop(self) -> None:
        """End the thread."""
        if self._thread:
            self._thread.stop()

    def _step(self) -> float:
        try:
            self._do()
            self._is_full(self._bells is not None and self._bells.full)
            return 0.0
        except Exception as error:  # Redis; the worker goes on by itself
            self._is_full(self._full or isinstance(error, OutOfMemoryError))
            self._holdings.remark(logging.DEBUG, f"no bells until Redis answers: {error!r}")
            self._drop()
            return RETRY

    def _is_full(self, full: bool) -> None:
        if full and not self._full:
            text = "the broker is full: it takes no new tasks until its maxmemory is raised; those that it has are run"
            self._holdings.remark(logging.CRITICAL, text)
        self._full = full

    def _do(self) -> None:
        client, keys = self._client, self._holdings.keys
        if client is None:
            return
        if self._events is None:
            self._events = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            self._events.subscribe(keys.channel(database_of(client)))
            self._beat_at, self._stand_at = float("-inf"), in_a_moment()  # who was first is heard now
        if self._lists != self._said or uptime() - self._said_at > SAY_AGAIN:
            self._say(client)
        if self._bells is None and uptime() > self._stand_at:
            self._stand(client)
        wait = 0.2 if self._bells is None else self._bells.do(self._heard_at)
        message, heard = self._events.get_message(timeout=min(wait, 0.25)), 0
        while message is not None:
            if message["channel"] == keys.channel(database_of(client)):
                self._hear(json.loads(message["data"]))
            elif self._bells:
                self._bells.heard(message["data"])
            heard += 1
            if self._events is None or heard == AT_ONCE:
                return
            message = self._events.get_message(timeout=0)
        if self._bells:
            self._bells.heard_all()

    def _say(self, client: Redis) -> None:
        """Say which queues this worker consumes."""
        lists, keys = self._lists, self._holdings.keys
        if lists:
            with client.pipeline(transaction=False) as pipeline:
                pipeline.zadd(keys.lists, {json.dumps(entry): self._holdings.now() for entry in lists})
                pipeline.publish(keys.channel(database_of(client)), QUESTION)
                pipeline.execute()
        self._said, self._said_at = lists, uptime()

    def _stand(self, client: Redis) -> None:
        """Nobody is heard: ask, and be the listener if nobody answers. Raises ConnectionError if the question is not heard."""
        keys, holder, now = self._holdings.keys, self._holdings.holder, uptime()
        if self._asked_at is None:
            self._silent = client.get(keys.listener)  # type: ignore[assignment]
            client.publish(keys.channel(database_of(client)), QUESTION)
            self._asked_at = now
        elif self._heard_at < self._asked_at:
            if now - self._asked_at > UNHEARD_AFTER:
                raise ConnectionError("the subscription is silent")
        elif now - self._asked_at > ANSWERED_IN:
            self._asked_at, self._stand_at = None, in_a_moment()  # if somebody is faster
            if client.eval(TAKE_OVER, 2, keys.workers, keys.listener, holder, self._silent or "", int(ENDS_AFTER * 1000)):
                self._bells = Bells(client, self._events, self._holdings)

    def _hear(self, message: dict[str, Any]) -> None:
        self._heard_at = uptime()
        if message.get("lists"):
            if self._bells:
                self._bells.asked()
            return
        self._covered, self._asked_at = frozenset(message["queues"]), None
        if message["listener"]:
            self._beat_at, self._stand_at = self._heard_at, self._heard_at + SILENT_AFTER
        else:  # it has ended, and its name is gone from Redis
            self._beat_at = self._stand_at = float("-inf")
            self._asked_at, self._silent = self._heard_at - ANSWERED_IN, None
        if self._bells and message["listener"] not in ("", self._holdings.holder):
            self._bells = None  # this worker was stopped for a while, and another has taken its place
            self._events.close()
            self._events = None

    def _drop(self) -> None:
        events, self._events, self._bells, self._asked_at = self._events, None, None, None
        if events is not None:
            events.close()

    def _end(self) -> None:
        """The worker ends. If it is the listener, another takes its place at once."""
        client = self._client
        if self._bells and client:
            try:
                client.delete(self._holdings.keys.listener)
                client.publish(self._holdings.keys.channel(database_of(client)), json.dumps({"listener": "", "queues": []}))
            except (RedisError, OSError):
                pass
        self._drop()


def in_a_moment() -> float:
    """A time that is another one for each worker."""
    return uptime() + random.uniform(0.1, 0.4)  # noqa: S311 - no secret
