"""The lock of the leader, in the broker's Redis."""

from __future__ import annotations

import json
import os
import uuid
from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from fleet_node.beat.scripts import ASK, LEAVE, RENEW
from fleet_node.broker import kind_of
from fleet_node.delivery.clients import client_of_app
from fleet_node.delivery.holdings import boot_id, started
from fleet_node.delivery.keys import holder_of, node_of, process_of
from fleet_node.protocol import BEAT_DRILL, BEAT_LOCK, BEAT_RUNS, BEAT_SIGNS, BeatSign

RENEWALS = 3
"""How often the lock is renewed before it would end."""


def is_redis(app: Any) -> bool:
    """Whether the app's broker is a Redis, by whatever transport."""
    return kind_of(app.connection_for_write()) == "redis"


def is_dead(token: str) -> bool:
    """Whether the process of a token was of this machine, and does not run any more."""
    try:
        boot, pid, start = process_of(token)
    except ValueError:
        return False
    return boot == boot_id() and started(pid) != start


class Lock:
    """Of one process. takeover: seconds that the lock lasts after it was renewed."""

    def __init__(self, app: Any, node: str, takeover: float) -> None:
        options = app.conf.broker_transport_options or {}
        prefix = str(options.get("global_keyprefix") or "")
        self.node, self.takeover = node, takeover
        self.token = holder_of(node, boot_id(), os.getpid(), started(os.getpid()), uuid.uuid4().hex[:12])
        names = (BEAT_LOCK, BEAT_RUNS, BEAT_SIGNS, BEAT_DRILL)
        self.key, self.runs, self.signs, self.drill = (f"{prefix}{name}" for name in names)
        # An answer that does not come must not take the time in which the lock can be renewed.
        self.client = client_of_app(app, patience=max(0.5, min(5.0, takeover / RENEWALS / 2)), retry=Retry(NoBackoff(), 0))
        self.leader = ""
        """Who had the lock when Redis last said so: a token."""

    @property
    def is_mine(self) -> bool:
        """Whether this process had the lock then."""
        return self.leader == self.token

    @property
    def leading_node(self) -> str:
        """The node that had it."""
        return node_of(self.leader) if self.leader else ""

    def ask(self, sign: BeatSign) -> bool:
        """Take the lock if it is free, or its leader was a process of this machine that has ended. Returns whether this process
        has it. Raises RedisError."""
        dead = self.leader if self.leader and is_dead(self.leader) else ""
        answer: Any = self.client.eval(ASK, 2, self.key, self.signs, self.token, dead, self._lasts, self.node, json.dumps(sign))
        self.leader = str(answer)
        return self.is_mine

    def renew(self, sign: BeatSign) -> bool:
        """Returns whether this process has the lock still. Raises RedisError."""
        answer: Any = self.client.eval(RENEW, 2, self.key, self.signs, self.token, self._lasts, self.node, json.dumps(sign))
        self.leader = str(answer)
        return self.is_mine

    def leave(self) -> None:
        """Give the lock back, so that another leads at once. Raises RedisError."""
        self.client.eval(LEAVE, 2, self.key, self.signs, self.token, self.node)

    @property
    def _lasts(self) -> int:
        return int(self.takeover * 1000)
