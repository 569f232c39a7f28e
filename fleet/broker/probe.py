"""What a broker that somebody else runs is, and what it forbids: asked by doing it, before a deploy changes anything.

`python -m fleet.broker.probe` reads the broker's URL on stdin, and prints a Server as JSON (`fleet.broker.aside`). It leaves
nothing behind.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis import Redis, RedisError
from redis.exceptions import AuthenticationError, ResponseError

from fleet.broker import aside
from fleet.broker.verdict import ProbeError, Verdict

PATIENCE = 10.0
"""Seconds for Redis to answer."""
NOTIFIED_WITHIN = 2.0
"""Seconds for a notification to come."""
OLDEST = (6, 2)
"""The oldest Redis that the fleet's scripts and ACLs are written for."""


@dataclass(frozen=True)
class Server:
    """A Redis. info: of INFO, as far as it answers. forbidden: what was tried → the answer, of what it refuses. notifies:
    whether it tells what comes into a list."""

    info: Mapping[str, Any] = field(default_factory=dict)
    forbidden: Mapping[str, str] = field(default_factory=dict)
    notifies: bool = True


NEEDED = {
    "write": "tasks cannot be queued: allow +@write +@read",
    "EVAL": "Celery itself needs scripts: allow +@scripting",
    "pub/sub": "no worker can be drained, asked or stopped: allow +@pubsub, and all channels (&*)",
    "blocking": "workers wait for tasks with BRPOP: allow +@blocking",
    "TIME": "leases and the ages of queues are by its clock: allow +time",
    "MULTI": "Celery itself needs transactions: allow +@transaction",
}
"""What the fleet cannot do without → what then is so, and what to allow."""
USEFUL = {
    "INFO": "the broker's memory and connections are unknown to fleet lint, fleet load and the monitor",
    "SCAN": "tasks that wait in queues nobody consumes are not found",
    "CLIENT LIST": "fleet load has one witness less: it does not see the workers' connections",
}
"""What the fleet can do without → what is lost."""


def judge(server: Server, connections: int = 0) -> Verdict:
    """Whether the fleet can use a server. connections: that the fleet may open. Pure."""
    info, forbidden = server.info, server.forbidden
    errors = [f"{what} is refused ({forbidden[what]}): {why}" for what, why in NEEDED.items() if what in forbidden]
    losses = [f"{what} is refused ({forbidden[what]}): {why}" for what, why in USEFUL.items() if what in forbidden]
    version = str(info.get("redis_version") or "")
    if version and tuple(map(int, version.split(".")[:2])) < OLDEST:
        errors.append(f"Redis {version} is too old: the fleet needs {'.'.join(map(str, OLDEST))} or later")
    if info.get("cluster_enabled"):
        errors.append("it is a Redis Cluster, which is no broker for Celery: keys of one task lie on several nodes")
    if info.get("role") == "slave":
        errors.append("it is a replica, which takes no tasks: give the URL of its primary, or sentinel://")
    policy = str(info.get("maxmemory_policy") or "noeviction")
    if policy != "noeviction":
        errors.append(f"maxmemory-policy is {policy}: it throws tasks away when memory is full; set noeviction")
    if "aof_enabled" in info and not info["aof_enabled"] and not info.get("connected_slaves"):
        losses.append("it has neither an append-only file nor a replica: a restart loses every task that waits")
    limit = int(info.get("maxclients") or 0)
    if limit and connections > limit:
        errors.append(f"it accepts {limit} connections, and the fleet may open {connections}: fewer instances, or slots")
    if not server.notifies:
        losses.append(
            "it does not notify of new messages: workers look for them ten times a second; set notify-keyspace-events to El"
        )
    return Verdict(tuple(errors), tuple(losses))


def probe(url: str, timeout: float = 60) -> Server:
    """Ask in a process of its own. Raises ProbeError and RefusedError."""
    return Server(**aside.ask("fleet.broker.probe", url, timeout, ProbeError))


def ask(url: str) -> Server:
    """Ask in this process. Raises RedisError."""
    key = f"fleet.tried.{secrets.token_hex(8)}"
    with Redis.from_url(url, decode_responses=True, encoding_errors="surrogateescape", socket_timeout=PATIENCE) as client:
        client.ping()
        refused: dict[str, str] = {}

        def tried(what: str, do: Callable[[], Any]) -> Any:
            try:
                return do()
            except RedisError as error:
                refused[what] = str(error)
                return None

        info = tried("INFO", client.info) or {}
        notifies = True
        try:
            with client.pubsub(ignore_subscribe_messages=True) as events:
                database = client.connection_pool.connection_kwargs.get("db") or 0
                if tried("pub/sub", lambda: events.subscribe(f"__keyevent@{database}__:lpush") or True):
                    tried("pub/sub", lambda: events.get_message(timeout=1) or client.publish(key, "") or True)
                tried("write", lambda: client.lpush(key, "1") and client.expire(key, 60))
                notifies = "pub/sub" in refused or "write" in refused or _notified(events, key)
            tried("EVAL", lambda: client.eval("return redis.call('LLEN', KEYS[1])", 1, key))
            tried("blocking", lambda: client.brpop([key], timeout=1))
            tried("SCAN", lambda: client.scan(0, match=key, count=1))
            tried("CLIENT LIST", client.client_list)
            tried("TIME", client.time)
            tried("MULTI", lambda: client.pipeline().llen(key).execute())
        finally:
            with suppress(RedisError):
                client.delete(key)
    kept = ("redis_version", "role", "cluster_enabled", "maxmemory_policy", "aof_enabled", "connected_slaves", "maxclients")
    return Server({name: info[name] for name in kept if name in info}, refused, notifies)


def _notified(events: Any, key: str) -> bool:
    deadline = time.monotonic() + NOTIFIED_WITHIN
    while time.monotonic() < deadline:
        message = events.get_message(timeout=0.2)
        if message and message.get("data") == key:
            return True
    return False


def _explain(error: Exception) -> str:
    if isinstance(error, AuthenticationError):
        return f"it refuses the user or the password: {error}"
    if isinstance(error, ResponseError):
        return f"it refuses the fleet: {error}"
    return f"the broker does not answer: {(str(error).splitlines() or [type(error).__name__])[0]}"


if __name__ == "__main__":
    sys.exit(aside.answer(ask, _explain, (AuthenticationError, ResponseError)))
