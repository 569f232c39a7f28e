"""The listener of the fleet: rings the bell of a queue when a message comes into it."""

from __future__ import annotations

import json
from typing import Any

from redis import Redis
from redis.exceptions import OutOfMemoryError

from fleet_node.delivery.ages import Ages
from fleet_node.delivery.clients import database_of
from fleet_node.delivery.holdings import Holdings, uptime
from fleet_node.delivery.scripts import RING, TAKE_OVER

LOOK_EVERY, LOOK_EVERY_IDLE, LOOK_EVERY_ALONE = 2.0, 20.0, 0.1
"""Seconds between two looks which queues are not empty: while messages come, if none comes, and if Redis does not notify."""
TRY_EVERY = 2.0
"""Seconds between two attempts to hear Redis notify."""
BEAT_EVERY, BEAT_EVERY_ALONE = 2.0, 30.0
"""Seconds between two signs that the listener is there: if others hear them, and if there is no other worker."""
UNHEARD_AFTER = 2.4
"""Seconds after which a worker that has not even heard itself subscribes anew: its connection may be cut in silence."""
KEEP_EVERY, ENDS_AFTER = 30.0, 90.0
"""Seconds between two writes of the listener's name, and after which Redis forgets it."""
FORGOTTEN = 3600.0
"""Seconds after which a list that no worker has spoken of is left out. Workers say every ten minutes what they consume."""
NOBODY_WAITS = 0.005
"""Seconds for which a bell is left alone whose token is still there: nobody waits for it."""
PUSHED = ("lpush", "rpush")
"""What Redis is asked to notify of, in any list of the database. Notifications by the name of a list
would be more: one for each message that is taken, too."""


class Bells:
    """Of the one worker that is the listener."""

    def __init__(self, client: Redis, events: Any, holdings: Holdings) -> None:
        self._client, self._events, self._holdings = client, events, holdings
        self._ages = Ages(client, holdings)
        self._channels = tuple(f"__keyevent@{database_of(client)}__:{event}" for event in PUSHED)
        self._queue_of: dict[str, str] = {}
        self._attempt = f"{holdings.keys.listener}.try"
        self._works = False
        self.full = False
        """Whether Redis was full the last time."""
        self._reread, self._look_at, self._beat_at, self._keep_at, self._try_at = True, *[uptime()] * 4
        self._said_at: float | None = None
        """When the listener has said that it is there, and has not heard it itself yet."""
        self._left_alone_until: dict[str, float] = {}
        self._again: set[str] = set()

    def asked(self) -> None:
        """A worker has come, consumes other queues than before, or asks whether there is a listener."""
        self._reread, self._beat_at = True, uptime()

    def heard(self, name: str) -> None:
        """Redis says that something has been put into a list."""
        if name == self._attempt:
            self._works = True
            self._ages.notified()
        elif queue := self._queue_of.get(name):
            self._ages.heard(name)
            self._ring(queue)

    def heard_all(self) -> None:
        """There is nothing more to hear now."""
        self._ages.heard_all()

    def do(self, heard_at: float) -> float:
        """What is due now. heard_at: when something was heard on the channel. Returns the seconds until something is due again.
        Raises ConnectionError if the listener does not hear itself."""
        now = uptime()
        if self._said_at is not None and heard_at >= self._said_at:
            self._said_at = None
        if self._said_at is not None and now - self._said_at > UNHEARD_AFTER:
            raise ConnectionError("the listener's subscription is silent")
        if self._reread:
            self._read(now)
        self._ages.do(self._works)
        if now >= self._beat_at:
            self._beat(now)
        if not self._works and now >= self._try_at:
            self._try(now)
        if now >= self._look_at:
            self._look(now)
        for queue in tuple(self._again):
            if now >= self._left_alone_until.get(queue, 0):
                self._again.discard(queue)
                self._ring(queue)
        due = min(self._beat_at, self._look_at, self._ages.due, *(self._left_alone_until[queue] for queue in self._again))
        return max(0.001, due - uptime())

    def _ring(self, queue: str) -> None:
        now = uptime()
        self._look_at = min(self._look_at, now + LOOK_EVERY)
        if now < self._left_alone_until.get(queue, 0):
            self._again.add(queue)
            return
        bell = self._holdings.keys.bell(queue)
        try:
            taken = self._client.zadd(bell, {"token": 1})
            self.full = False
        except OutOfMemoryError:
            self._client.eval(RING, 1, bell)  # what waits must be worked off, and is what Redis is full of
            self.full, taken = True, 0
        if not taken:
            self._left_alone_until[queue] = now + NOBODY_WAITS

    def _read(self, now: float) -> None:
        """Learn which lists there are, and listen to them."""
        self._reread = False
        keys = self._holdings.keys
        entries: Any = self._client.zrangebyscore(keys.lists, self._holdings.now() - FORGOTTEN, "+inf")
        lists = {name: queue for queue, name in map(json.loads, entries)}
        self._queue_of = lists
        self._ages.consumed(lists)
        self._events.subscribe(*self._channels)
        self._works = False
        self._try_at = self._look_at = now  # look: what came before Redis notified

    def _try(self, now: float) -> None:
        """Put something into a list of the listener's own, to see whether Redis notifies. The subscription is sent on another
        connection, and Redis may read it later: until an event comes, the listener tries again."""
        self._try_at = now + TRY_EVERY
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.lpush(self._attempt, 1)
            pipeline.delete(self._attempt)
            answer, _ = pipeline.execute(raise_on_error=False)
        self.full = isinstance(answer, OutOfMemoryError)
        if isinstance(answer, Exception) and not self.full:
            raise answer

    def _beat(self, now: float) -> None:
        """Say that the listener is there. Raises ConnectionError if not even its own subscription is heard by Redis."""
        client, keys, holder = self._client, self._holdings.keys, self._holdings.holder
        if now >= self._keep_at:
            try:
                client.set(keys.listener, holder, px=int(ENDS_AFTER * 1000))
            except OutOfMemoryError:
                self.full = True
                client.eval(TAKE_OVER, 2, keys.workers, keys.listener, holder, holder, int(ENDS_AFTER * 1000))
            self._keep_at = now + KEEP_EVERY
        self._said_at = self._said_at or uptime()
        sign = {"listener": holder, "queues": sorted(set(self._queue_of.values()))}
        subscribers: Any = client.publish(keys.channel(database_of(client)), json.dumps(sign))
        if not subscribers:
            raise ConnectionError("the listener's subscription is gone")
        self._beat_at = now + (BEAT_EVERY if subscribers > 1 else BEAT_EVERY_ALONE)

    def _look(self, now: float) -> None:
        """Ring for queues that are not empty, whoever was or was not woken."""
        self._look_at = now + (LOOK_EVERY_IDLE if self._works else LOOK_EVERY_ALONE)
        lists = tuple(self._queue_of)
        if not lists:
            return
        if not self._client.exists(*lists):
            self._ages.empty(now)
            return
        self._ages.wait()
        with self._client.pipeline(transaction=False) as pipeline:
            for name in lists:
                pipeline.exists(name)
            not_empty = {self._queue_of[name] for name, there in zip(lists, pipeline.execute(), strict=True) if there}
        for queue in not_empty:
            self._ring(queue)
