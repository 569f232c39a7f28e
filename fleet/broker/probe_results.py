"""Whether workers can keep results in a Redis that the secrets file names: tried before a deploy changes anything.

`python -m fleet.broker.probe_results` reads its URL on stdin, and prints a ResultServer as JSON (`fleet.broker.aside`). It leaves
nothing behind.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redis import Redis, RedisError
from redis.exceptions import AuthenticationError, ResponseError

from fleet.broker import aside
from fleet.broker.probe import PATIENCE
from fleet.broker.verdict import ProbeError, Verdict


@dataclass(frozen=True)
class ResultServer:
    """A Redis. forbidden: what was tried → the answer, of what it refuses."""

    forbidden: Mapping[str, str] = field(default_factory=dict)


NEEDED = {
    "write": "no result is stored: allow +@write +@read",
    "pub/sub": "nobody is told that a result is there: allow +@pubsub, and all channels (&*)",
    "MULTI": "Celery stores a result in a transaction: allow +@transaction",
}
"""What Celery's backend does → what then is so, and what to allow."""


def judge(server: ResultServer) -> Verdict:
    """Whether workers can keep results in a server. Pure."""
    return Verdict(
        tuple(f"{what} is refused ({server.forbidden[what]}): {why}" for what, why in NEEDED.items() if what in server.forbidden)
    )


def probe(url: str, timeout: float = 60) -> ResultServer:
    """Ask in a process of its own. Raises ProbeError and RefusedError."""
    return ResultServer(**aside.ask("fleet.broker.probe_results", url, timeout, ProbeError))


def ask(url: str) -> ResultServer:
    """Ask in this process. Raises RedisError."""
    key = f"fleet.tried.{secrets.token_hex(8)}"
    refused: dict[str, str] = {}

    def tried(what: str, do: Callable[[], Any]) -> None:
        try:
            do()
        except RedisError as error:
            refused.setdefault(what, str(error))

    with Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE) as client:
        client.ping()
        try:
            tried("write", lambda: (client.set(key, "", ex=60), client.get(key)))
            tried("pub/sub", lambda: _subscribe(client, key))
            tried("MULTI", lambda: client.pipeline().get(key).execute())
        finally:
            with suppress(RedisError):
                client.delete(key)
    return ResultServer(refused)


def _subscribe(client: Redis, channel: str) -> None:
    with client.pubsub() as events:  # type: ignore[no-untyped-call]
        events.subscribe(channel)
        events.get_message(timeout=PATIENCE)
        client.publish(channel, "")


def _explain(error: Exception) -> str:
    if isinstance(error, AuthenticationError):
        return f"it refuses the user or the password: {error}"
    if isinstance(error, ResponseError):
        return f"it refuses the fleet: {error}"
    return f"it does not answer: {(str(error).splitlines() or [type(error).__name__])[0]}"


if __name__ == "__main__":
    sys.exit(aside.answer(ask, _explain, (AuthenticationError, ResponseError)))
