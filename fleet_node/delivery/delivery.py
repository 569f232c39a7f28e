"""One worker's delivery: what its channel, its lease, and the tasks that end have in common."""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from celery.bootsteps import CLOSE, TERMINATE
from redis import Redis, RedisError
from redis.exceptions import NoPermissionError, ResponseError

from fleet_node.delivery import sweep
from fleet_node.delivery.admission import Admission
from fleet_node.delivery.clients import client_of
from fleet_node.delivery.holdings import Holdings
from fleet_node.delivery.keys import Keys
from fleet_node.delivery.lease import Lease, find_predecessors, renew
from fleet_node.delivery.refusals import Refusals
from fleet_node.delivery.requests import Requests
from fleet_node.delivery.scripts import ENTER, FETCH, PUT_ASIDE, WRITE_DOWN
from fleet_node.delivery.wake import Wake
from fleet_node.delivery.wakeup import Wakeup
from fleet_node.protocol import CONNECTION

_log = logging.getLogger("celery.worker.fleet")


class NoScriptsError(Exception):
    """The broker does not let workers run scripts."""


class Delivery:
    """Of one worker (a celery WorkController), from its first connection to its end. lease: in seconds; None if there is none."""

    def __init__(self, worker: Any, lease: float | None) -> None:
        self.worker = worker
        self.lease = lease
        self.holdings = Holdings(worker.hostname, lease, Keys())
        self.wakeup = Wakeup(self.holdings)
        self.fetch = ""
        self._client: Redis | None = None
        self.refusals = Refusals()
        self._to_give_back: deque[str] = deque()
        self._holder = ""
        """As which the worker has a lease."""
        self.requests = Requests(worker)
        self.admission = Admission(self.holdings, self.requests)
        self._pipe: Wake | None = None
        self._lock = threading.Lock()
        self._keeper: Lease | None = None

    @property
    def client(self) -> Redis:
        """A client of the broker, for the main loop and for threads in which tasks end."""
        if self._client is None:
            raise ConnectionError("the worker has not been connected yet")
        return self._client

    @property
    def is_entered(self) -> bool:
        """Whether the worker has been connected, and the broker runs scripts."""
        return self._client is not None and bool(self.fetch)

    def enter(self, channel: Any) -> None:
        """The worker is connected. Raises NoScriptsError if the broker does not let it run scripts, and ConnectionError, as for a
        broker that is away, if it refuses them for now."""
        try:
            self._enter(channel)
        except ResponseError as error:
            if isinstance(error, NoPermissionError) or "unknown command" in str(error):
                raise NoScriptsError(str(error)) from error
            self.refusals.refused(error)
            raise ConnectionError(f"Redis refuses commands: {error}") from error
        self.refusals.accepted()

    def _enter(self, channel: Any) -> None:
        self._client = client_of(channel, client_name=CONNECTION + self.holdings.node)
        self.load()
        keys = Keys(channel.global_keyprefix, channel.unacked_key, channel.unacked_index_key)
        self.holdings.keys = keys
        self.holdings.set_clock(*self.client.time())
        if self.lease is not None and self._holder == self.holdings.holder:
            renew(self.client, self.holdings)  # or learn that others have it
        self._sort_out()
        for holder in sweep.claim(self.client, keys, holders=find_predecessors(self.client, self.holdings)):
            given_back = sweep.give_back_all(self.client, keys, holder)
            if any(given_back):
                _log.warning("an earlier process of this worker is gone: %s", given_back)
        self._holder = self.holdings.holder
        self.client.eval(ENTER, 1, keys.workers, self._holder, f"{self.holdings.ends():f}")
        self.holdings.entered()
        self.holdings.is_uncertain()
        if self._keeper:
            self._keeper.connect(channel)
            self.wakeup.connect(client_of(channel), client_of(channel))

    def ready(self, channel: Any) -> None:
        """The pool has been forked, and a fork has no threads: start them."""
        if self._keeper is None:
            self._keeper = Lease(self.holdings, getattr(self.worker, "fleet_sign", None))
            self._keeper.connect(channel)
            self.wakeup.connect(client_of(channel), client_of(channel))
            self._keeper.start()
            self.wakeup.start()

    def load(self) -> None:
        """Have Redis know the script."""
        self.fetch = str(self.client.script_load(FETCH))
        self._fetch = self.client.register_script(FETCH)

    def leave(self) -> None:
        """The worker ends: nothing of it stays."""
        if self._keeper:
            self._keeper.stop()
            self.wakeup.stop()
        self.holdings.write_log()
        if self._client:
            try:
                self.give_back_all()
                if self._keeper:
                    self._keeper.leave(self.client)
                if not self.client.hlen(self.holdings.keys.held(self.holdings.holder)):
                    self.client.zrem(self.holdings.keys.workers, self.holdings.holder)
            except (RedisError, OSError) as error:
                _log.warning("what this worker held goes back when its lease has ended: %s", error)

    def is_ending(self) -> bool:
        """Whether the worker ends, and does not just connect again."""
        return self.worker.blueprint.state in (CLOSE, TERMINATE) or self._consumer_state() in (CLOSE, TERMINATE)

    def _consumer_state(self) -> Any:
        consumer = self.worker.consumer
        return consumer.blueprint.state if consumer else None

    def begins_in_loop(self) -> bool:
        """Whether tasks run in the main loop itself."""
        from fleet_node.patches import pool_of

        return pool_of(self.worker) == "solo"

    def acknowledges_elsewhere(self) -> bool:
        """Whether tasks end in other threads than that of the main loop."""
        from fleet_node.patches import pool_of

        return pool_of(self.worker) not in ("prefork", "solo")

    def loop_waits_for_tasks(self) -> bool:
        """Whether the main loop stands still while a task computes: it runs the task itself, or shares its thread."""
        from fleet_node.patches import pool_of

        return pool_of(self.worker) in ("solo", "gevent", "eventlet")

    def open_pipe(self) -> Wake:
        """What wakes the loop of a pool without an event loop."""
        self._pipe = self._pipe or Wake()
        return self._pipe

    def end(self, tag: str) -> None:
        """A message is to be acknowledged: with the next fetch, at once if there is none any more."""
        self.holdings.end(tag)
        if self.is_ending():
            try:
                self.acknowledge()
            except ResponseError as error:
                self.refusals.refused(error)
        elif self._pipe:
            self._pipe.ring()

    def acknowledge(self) -> None:
        """Acknowledge all that has ended, on a connection beside the channel's. Raises what redis raises."""
        keys = self.holdings.keys
        with self._lock:
            while tags := self.holdings.ended():
                held = keys.held(self.holdings.holder)
                named = (keys.unacked, keys.index, held, keys.workers)
                try:
                    answer: Any = self._fetch(named, ("0", "0", len(tags), self.holdings.holder, *tags))
                except (RedisError, OSError):
                    self.holdings.not_acknowledged(tags)
                    raise
                self.acknowledged(tags, answer[0])

    def acknowledge_first(self) -> None:
        """A task begins that must not run twice: it is acknowledged before anything else happens, if Redis does it."""
        try:
            self.acknowledge()
        except (RedisError, OSError) as error:
            _log.error("a task begins that is not acknowledged yet, and may run twice if this worker dies now: %s", error)

    def acknowledged(self, tags: Iterable[str], unknown: Iterable[str]) -> None:
        """Redis has answered acknowledgements. unknown: those whose messages this worker did not have any more."""
        if number := self.holdings.acknowledged(tags, unknown):
            _log.error("%s tasks ended here that others have been given meanwhile: they may run twice", number)

    def give_back(self, tags: Iterable[str], command: str = "RPUSH") -> None:
        """Give messages back to their queues. command: RPUSH, to be the next, or LPUSH. Raises what redis raises.

        What Redis does not put into its list stays written down, and goes back when this worker is gone.
        """
        tags = list(tags)
        given_back = sweep.give_back(self.client, self.holdings.keys, self.holdings.holder, tags, command)
        if given_back.refusal:
            _log.error("messages stay with this worker until it ends: Redis does not put them back: %s", given_back.refusal)
        for tag in tags:
            self.holdings.held.pop(tag, None)

    def reject(self, tag: str) -> None:
        """Give a message back, to be the last of its queue. If Redis does not do it now, it is asked again."""
        try:
            self.give_back([tag], "LPUSH")
        except (RedisError, OSError) as error:
            self._to_give_back.append(tag)
            if isinstance(error, ResponseError):
                self.refusals.refused(error)

    @property
    def has_rejected(self) -> bool:
        """Whether there are messages to give back."""
        return bool(self._to_give_back)

    def give_back_rejected(self) -> None:
        """Give back what Redis did not take back before. Raises what redis raises."""
        while self._to_give_back:
            self.give_back([self._to_give_back[0]], "LPUSH")
            self._to_give_back.popleft()

    def give_back_all(self) -> None:
        """Acknowledge what has ended, and give back all the rest, in the order in which it came."""
        self.acknowledge()
        if self.holdings.held:
            self.give_back(reversed(tuple(self.holdings.held)))

    def look_for_orphans(self) -> None:
        """Give back what is written down for this worker and never came here, if that may be. Nothing must be under way."""
        if self._client and self.holdings.is_time_to_look():
            with self._lock:  # what another thread acknowledges just now is no orphan
                written: Any = self.client.hkeys(self.holdings.keys.held(self.holdings.holder))
                orphans = [tag for tag in written if not self.holdings.knows(tag)]
            if orphans:
                _log.warning("%s messages were taken and never came: they go back to their queues", len(orphans))
                sweep.give_back(self.client, self.holdings.keys, self.holdings.holder, orphans)

    def write_down(self, tag: str, name: str, content: str) -> None:
        """Write a message down that the script could not. name: of its list. content: [message, exchange, routing key]."""
        keys, now = self.holdings.keys, f"{self.holdings.now():.6f}"
        named = (keys.index, keys.unacked, keys.held(self.holdings.holder))
        self.client.eval(WRITE_DOWN, len(named), *named, tag, content, now, f"{now} {name}")
        self.holdings.hold(tag)

    def put_aside(self, tag: str | None, content: bytes) -> None:
        """A message that cannot be read: no worker ever can."""
        keys = self.holdings.keys
        self.client.eval(PUT_ASIDE, 2, keys.index, keys.unreadable, content)
        _log.critical("a message is no JSON, and put into %s: %.200r", self.holdings.keys.unreadable, content)
        if tag is not None:
            self.end(tag)

    @lru_cache(maxsize=1000)  # noqa: B019 - a worker has one
    def routing(self, queue: str) -> str:
        """The end of what is written down of a message: by the default exchange to its queue."""
        return f', "", {json.dumps(queue)}]'

    def _sort_out(self) -> None:
        """After a lost connection: what Celery has forgotten goes back to its queues, what it has begun goes on.

        If others have been given all of it, what has not begun must not begin.
        """
        unbegun = [tag for tag in tuple(self.holdings.held) if not self.requests.has_begun(tag)]
        if self.holdings.swept:
            _log.error(
                "%s tasks go on that others have been given, %s others are left to them",
                len(self.holdings.held) - len(unbegun),
                len(unbegun),
            )
            for tag in unbegun:
                self.holdings.held.pop(tag, None)
                self.requests.drop(tag)
            self.holdings.begin_again()
        elif unbegun:
            self.give_back(reversed(self.requests.forgotten(unbegun)))
