"""A worker's lease: a thread says every few seconds that the worker has what it holds, and gives back what dead ones held."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from redis import Redis

from fleet_node.delivery import sweep
from fleet_node.delivery.clients import client_of
from fleet_node.delivery.holdings import Holdings, uptime
from fleet_node.delivery.keys import node_of
from fleet_node.delivery.native import Thread
from fleet_node.delivery.scripts import RENEW, SAY
from fleet_node.delivery.signs import Sign, Signs
from fleet_node.protocol import CONNECTION

RENEWALS = 6
"""How often a lease is renewed before it would end."""
IDLE_RENEWALS = 2
"""The same of a worker that holds nothing, and has nothing to lose."""
NOTICED = 1.0
"""Seconds in which it is noticed that an idle worker has been given something."""
FIRST_LOOKS = 3
"""How often a worker that has just come looks for what it was before, while that may have a lease."""
JITTER = 2.0
"""Seconds, at most, after the end of a lease at which a worker looks who is dead: so that not all look at once."""
OTHERS_FIRST = 5.0
"""Seconds, at least, that a worker has Redis before it looks who is dead: longer than the next attempt of the others."""
OTHERS_EVERY = 60.0
"""Seconds between two looks for what consumers held that are not the fleet's."""
CLOCK_SET = 1.0
"""Seconds by which Redis's clock differs from what was expected if it has been set, or this machine paused."""
AT_ONCE = 1000
"""Messages of which a worker speaks in one command, of about 3 ms: Redis does nothing else meanwhile."""
LATE = 2.0
"""Seconds by which a renewal may be late."""
RETRY = 1.0
"""Seconds until the next attempt if Redis does not answer."""


def renew(client: Redis, holdings: Holdings) -> float:
    """Say that the worker has what it holds. Returns by how many seconds Redis's clock differs from what was expected."""
    begun, holder, tags = uptime(), holdings.holder, tuple(holdings.held)
    keys, lease = holdings.keys, f"{holdings.lease or 0:f}"
    answer: Any = client.eval(RENEW, 2, keys.workers, keys.index, holder, lease, *tags[:AT_ONCE])
    renewed, seconds, microseconds = answer
    if renewed:
        holdings.renewed_at = begun
    else:
        holdings.lost(holder)
    moved = holdings.set_clock(seconds, microseconds)
    for start in range(AT_ONCE, len(tags) if renewed else 0, AT_ONCE):
        now = f"{holdings.now():f}"
        client.eval(SAY, 1, keys.index, *(value for tag in tags[start : start + AT_ONCE] for value in (now, tag)))
    return moved


def find_predecessors(client: Redis, holdings: Holdings) -> list[str]:
    """The holders that were this worker before."""
    overdue = holdings.now() + (holdings.lease or 0) * (1 - 1 / IDLE_RENEWALS) - LATE
    return sweep.predecessors(sweep.leases(client, holdings.keys), holdings.node, overdue)


class Lease:
    """Of one worker. With no lease, the thread only gives back what has been held for longer than the visibility timeout. sign:
    makes what the worker says of itself (`signs`)."""

    def __init__(self, holdings: Holdings, sign: Sign | None = None) -> None:
        self._holdings = holdings
        self._signs = Signs(holdings, sign)
        self._client: Redis | None = None
        self._lists: Callable[[Any, str, str], list[str]] = lambda *_: []
        self._visibility = 3600.0
        self._thread: Thread | None = None
        self._renew_at = self._look_at = self._others_at = uptime()
        self._failing = False
        self._successor_until = uptime() + (holdings.lease or 0)
        """Until when what this worker was before may have a lease."""
        self._wait_for_others()

    def connect(self, channel: Any) -> None:
        """The worker has a new connection. A thread that is at work uses a new client from its next step on."""
        self._client = client_of(channel, client_name=CONNECTION + self._holdings.node)
        self._visibility = float(channel.visibility_timeout)

        def lists(content: Any, exchange: str, routing_key: str) -> list[str]:
            priority = channel._get_message_priority(content, reverse=False) if isinstance(content, dict) else 0
            queues = channel._lookup(exchange, routing_key)
            return [channel.global_keyprefix + channel._q_for_pri(queue, priority) for queue in queues]

        self._lists = lists

    def start(self) -> None:
        """Start the thread."""
        self._thread = Thread(self._step, self._close)

    def stop(self) -> None:
        """End the thread."""
        if self._thread:
            self._thread.stop()

    def leave(self, client: Redis) -> None:
        """What the worker says for the last time. Raises what redis raises if there is no connection."""
        self._signs.leave(client)

    def _close(self) -> None:
        if self._client:
            self._client.close()

    def _step(self) -> float:
        """What is due now. Returns the seconds until something is due again."""
        try:
            self._do(uptime())
            self._failing = False
        except Exception as error:  # Redis, or a channel that has just been closed
            if not self._failing:
                self._holdings.remark(logging.WARNING, f"the lease is not renewed: {error!r}")
            self._failing = True
            self._wait_for_others()
            return RETRY
        return min(NOTICED, max(0.05, min(self._renew_at, self._look_at, self._others_at, self._signs.due) - uptime()))

    def _wait_for_others(self, renewals: int = RENEWALS) -> None:
        """Before a worker looks who is dead, those that have been without Redis for as long as it have renewed their leases."""
        self._look_at = uptime() + max(OTHERS_FIRST, (self._holdings.lease or 0) / renewals)

    def _do(self, now: float) -> None:
        lease, client = self._holdings.lease, self._client
        if client is None:
            return
        if now >= self._renew_at or (lease and self._holdings.held and now >= self._holdings.renewed_at + lease / RENEWALS):
            self._renew_at = now + self._renew(client)
        if now >= self._look_at:
            self._look_at = now + (self._look(client, lease) if lease else 3600)
        if now >= self._others_at:
            self._others_at = now + min(OTHERS_EVERY, max(1.0, self._visibility / 4))
            since = self._holdings.now() - self._visibility
            if number := sweep.give_back_others(client, self._holdings.keys, since, self._lists):
                text = (
                    f"{number} messages go back to their queues: no consumer has said anything of them for {self._visibility:g} s"
                )
                self._holdings.remark(logging.WARNING, text)
        self._signs.say(client, now)

    def _renew(self, client: Redis) -> float:
        """Say that the worker has what it holds. Returns the seconds until it has to say so again."""
        holdings = self._holdings
        if holdings.lease is None or holdings.swept:
            return RETRY
        if renew(client, holdings) > CLOCK_SET:
            self._wait_for_others(IDLE_RENEWALS)  # their leases may seem to have ended
        return holdings.lease / (RENEWALS if holdings.held else IDLE_RENEWALS)

    def _look(self, client: Redis, lease: float) -> float:
        """Give back what dead workers held. Returns the seconds until the next lease may end."""
        keys = self._holdings.keys
        oldest = sweep.pairs(client.zrange(keys.workers, 0, 0, withscores=True))
        unfinished = client.zcard(keys.swept)
        named = find_predecessors(client, self._holdings) if uptime() < self._successor_until else []
        if unfinished or named or (oldest and oldest[0][1] < self._holdings.now()):
            for holder in sweep.claim(client, keys, self._holdings.now(), named):
                given_back = sweep.give_back_all(client, keys, holder)
                self._holdings.remark(logging.WARNING, f"{node_of(holder)} is gone: {given_back}")
            oldest = sweep.pairs(client.zrange(keys.workers, 0, 0, withscores=True))
        due = oldest[0][1] - self._holdings.now() if oldest else lease
        most = sweep.AGAIN_AFTER if unfinished else lease / FIRST_LOOKS if uptime() < self._successor_until else lease
        return min(max(0.0, due), most) + random.uniform(0, min(JITTER, lease / 10))  # noqa: S311 - so that not all look at once
