"""How long Redis is busy with one message: by fleet_node's script, by kombu's own commands, and by BRPOP alone.

    .venv/bin/python benchmarks/fetch.py >benchmarks/results/fetch-$(date +%F).md

Redis's own count of microseconds, in turns; what goes over the network is not in it. On 127.0.0.1, with a Redis of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable
from datetime import date
from pathlib import Path

from redis import Redis

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import machine, ratios, spread, table
from benchmarks.footprint import redis
from fleet_node.delivery.scripts import FETCH

ROUNDS = 15
KB = 1000
SIZES = (KB, 10 * KB, 100 * KB, 1000 * KB, 5000 * KB)
LISTS = ("celery", "celery\x06\x163", "celery\x06\x166", "celery\x06\x169")


def main() -> None:
    """Measure, and print the report."""
    rows = []
    with tempfile.TemporaryDirectory() as name, redis(Path(name)) as port, Redis(port=port) as client:
        for size in SIZES:
            text = message(size)
            samples: dict[Callable[[Redis], object], list[float]] = {by_script: [], by_kombu: [], by_brpop: []}
            for number in range(ROUNDS):
                for take in samples if number % 2 else reversed(list(samples)):
                    samples[take].append(busy_for(client, text, take))
            ours, theirs, alone = samples[by_script], samples[by_kombu], samples[by_brpop]
            values = (spread(alone, 0), spread(theirs, 0), spread(ours, 0))
            rows.append([f"{size // KB}", *values, spread(ratios(ours, theirs), 1), spread(ratios(ours, alone), 1)])
    print(f"# One message, taken and written down, {date.today()}\n")  # noqa: T201
    print(f"Microseconds of Redis, {ROUNDS} rounds in turns; median (least to most).\n")  # noqa: T201
    print(table(["kB", "BRPOP", "BRPOP, HSET, ZADD", "the script", "script / kombu", "script / BRPOP"], rows))  # noqa: T201
    about = {**machine(), "command": "python benchmarks/fetch.py"}
    print("".join(f"- {name}: {value}\n" for name, value in about.items()), end="")  # noqa: T201


def message(size: int) -> str:
    """As Celery sends it, with a body of so many bytes."""
    around = {"content-type": "application/json", "content-encoding": "utf-8", "headers": {"task": "t", "id": "1"}}
    delivery = {"exchange": "", "routing_key": "celery"}
    properties = {"delivery_tag": "1", "delivery_info": delivery, "body_encoding": "base64"}
    return json.dumps({"body": b64encode(os.urandom(size * 3 // 4)).decode(), **around, "properties": properties})


def busy_for(client: Redis, text: str, take: Callable[[Redis], object]) -> float:
    """Microseconds that Redis worked for it."""
    client.flushall()
    client.zadd("fleet.workers", {"w": 0})
    client.lpush("celery", text)
    client.config_resetstat()
    take(client)
    counted = client.info("commandstats")
    return float(sum(of["usec"] for name, of in counted.items() if name in COUNTED[take]))


def by_script(client: Redis) -> None:
    """One command."""
    ends = [', "", "celery"]'] * len(LISTS)
    named = ("unacked", "unacked_index", "fleet.held.w", "fleet.workers", "fleet.marks.", "fleet.ages", *LISTS)
    client.eval(FETCH, len(named), *named, "0", "1", "0", "w", *ends)


def by_kombu(client: Redis) -> None:
    """As kombu 5.7 does (QoS.append)."""
    text = (client.brpop(LISTS, 1) or ("", ""))[1]
    client.hset("unacked", "1", json.dumps([json.loads(text), "", "celery"]))
    client.zadd("unacked_index", {"1": 0})


def by_brpop(client: Redis) -> None:
    """What takes a message without writing it down."""
    client.brpop(LISTS, 1)


COUNTED: dict[Callable[[Redis], object], set[str]] = {
    by_script: {"cmdstat_eval"},
    by_brpop: {"cmdstat_brpop"},
    by_kombu: {"cmdstat_brpop", "cmdstat_hset", "cmdstat_zadd"},
}

if __name__ == "__main__":
    main()
