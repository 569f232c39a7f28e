"""What dead workers held goes back to its queues."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from kombu.utils import json as _json
from redis import Redis

from fleet_node.delivery.holdings import boot_id, started
from fleet_node.delivery.keys import Keys, node_of, process_of
from fleet_node.delivery.scripts import CLAIM, GIVE_BACK, GIVE_BACK_OTHERS

json: Any = _json  # kombu has no types

AGAIN_AFTER = 10
"""Seconds after which a sweep that was cut off is begun again by somebody."""
CHUNK = 100
"""Messages that are read and put back at once."""

_log = logging.getLogger("celery.worker.fleet")


def predecessors(leases: Mapping[str, float], node: str, overdue: float) -> list[str]:
    """The holders that are earlier processes of a node, and do not run any more.

    leases: holder → Redis's time at which its lease ends. overdue: a lease that ends before has not been renewed when it should
    have been. That decides about processes of which this machine knows nothing: it may have been started anew, or another machine
    may have the same name.
    """
    own = [holder for holder in leases if node_of(holder) == node]
    return [
        holder for holder in own if _has_ended(holder) or (_is_elsewhere(holder) and not overdue <= leases[holder] < math.inf)
    ]


def _is_elsewhere(holder: str) -> bool:
    return process_of(holder)[0] != boot_id()


def _has_ended(holder: str) -> bool:
    _, pid, start = process_of(holder)
    return not _is_elsewhere(holder) and started(pid) != start


def leases(client: Redis, keys: Keys) -> dict[str, float]:
    """Holder → Redis's time at which its lease ends."""
    return dict(pairs(client.zrange(keys.workers, 0, -1, withscores=True)))


def claim(client: Redis, keys: Keys, now: float = 0.0, holders: Iterable[str] = ()) -> list[str]:
    """Take their lease from some holders, and from those whose lease ended before `now`, Redis's time. Returns the holders whose
    messages are to be given back: also those of a sweep that was cut off."""
    dead: Any = client.eval(CLAIM, 2, keys.workers, keys.swept, f"{now:.6f}", str(AGAIN_AFTER), *holders)
    return list(dead)


class GivenBack(NamedTuple):
    """How many messages are back in their lists, and why Redis did not put others there, which the holder keeps; else empty."""

    number: int
    refusal: str

    def __str__(self) -> str:
        return f"{self.number} messages that it held go back to their queues" + (
            f", others do not: {self.refusal}" if self.refusal else ""
        )


def give_back_all(client: Redis, keys: Keys, holder: str) -> GivenBack:
    """Give back all that a dead holder held: what was taken first is the next to be taken."""
    held: Any = client.hgetall(keys.held(holder))
    newest_first = sorted(held, key=lambda tag: _taken_at(held[tag]), reverse=True)
    given_back = give_back(client, keys, holder, newest_first)
    if not client.hlen(keys.held(holder)):
        client.zrem(keys.swept, holder)
        client.hdel(keys.signs, holder)
    return given_back


def give_back(client: Redis, keys: Keys, holder: str, tags: Iterable[str], command: str = "RPUSH") -> GivenBack:
    """Give back messages that a holder has, in this order. command: RPUSH, to be the next, or LPUSH."""
    tags, number, refusal = list(tags), 0, ""
    for start in range(0, len(tags), CHUNK):
        chunk = tags[start : start + CHUNK]
        with client.pipeline(transaction=False) as pipeline:
            pipeline.hmget(keys.unacked, chunk)
            pipeline.hmget(keys.held(holder), chunk)
            values, origins = pipeline.execute()
        arguments: list[str] = []
        for tag, value, origin in zip(chunk, values, origins, strict=True):
            # A message that is not written down any more was given to somebody already: its tag is forgotten.
            content = _content(value) if value and origin else ""
            arguments += (tag, (origin or " ").partition(" ")[2], content, sent(origin or ""))
        named = (keys.index, keys.unacked, keys.held(holder), keys.marks, keys.ages)
        answer: Any = client.eval(GIVE_BACK, len(named), *named, command, *arguments)
        number, refusal = number + answer[0], answer[1] or refusal
    return GivenBack(number, refusal)


def give_back_others(client: Redis, keys: Keys, since: float, lists: Callable[[Any, str, str], list[str]]) -> int:
    """Give back what consumers hold that are no workers of the fleet, and of which they have said nothing since `since`.

    lists: gives the lists of a message by its content, exchange and routing key. Returns how many messages.
    """
    number = 0
    entries = client.zrangebyscore(keys.index, "-inf", f"({since:f}", start=0, num=CHUNK, withscores=True)
    for tag, score in pairs(entries):
        value: Any = client.hget(keys.unacked, tag)
        content, exchange, routing_key = json.loads(value) if value else (None, "", "")
        to = lists(content, exchange, routing_key) if value else []
        arguments = (tag, repr(score), redelivered(content), sent(f"{score:.6f}"), *to)
        number += int(client.eval(GIVE_BACK_OTHERS, 3, keys.unacked, keys.index, keys.marks, *arguments))
    return number


def redelivered(message: Any) -> str:
    """A message as JSON, marked as kombu marks one that comes again."""
    if isinstance(message, dict):
        try:
            message["headers"]["redelivered"] = True
            message["properties"]["delivery_info"]["redelivered"] = True
        except (KeyError, TypeError):  # no message of Celery's
            pass
    return str(json.dumps(message))


def pairs(entries: Any) -> list[tuple[str, float]]:
    """[(member, score)] of an answer WITHSCORES, in either of Redis's protocols and of redis-py's forms."""
    if entries and isinstance(entries[0], (list, tuple)):
        return [(member, float(score)) for member, score in entries]
    return [(entries[index], float(entries[index + 1])) for index in range(0, len(entries), 2)]


def _content(value: str) -> str:
    """The message of what is written down, marked; as it is if it is no JSON."""
    try:
        return redelivered(json.loads(value)[0])
    except ValueError:
        return value[1:].rsplit(", ", 2)[0]


def sent(entry: str) -> str:
    """When a message was sent, as a mark has it: from what a holder wrote down of it. One that wrote nothing of it (an earlier
    release) took it later."""
    seconds, _, decimals = entry.partition(" ")[0].partition(".")
    return decimals[6:] if len(decimals) == 6 + 26 else f"{0:013}{seconds or '0':>010}{decimals[:3]:0<3}"


def _taken_at(entry: str) -> float:
    return float(entry.partition(" ")[0])
