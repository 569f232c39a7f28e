"""The task of `fleet drill`: a numbered piece of work that writes down, in a ledger, when it began and when it ended.

The ledger of a run is a list in the Redis of the results, `fleet.drill.<run>`: each entry a JSON array [number, "start" or "end",
time, node]. Times are Redis' own, so that no two clocks are compared.
"""

from __future__ import annotations

import json
import os
import time
from functools import cache
from typing import Any

from celery import Task, shared_task
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

KEPT = 86400
"""Seconds that a ledger is kept after its last entry."""

OUTAGE = 180
"""How often the ledger is tried again, every second."""
PIECE = 1 << 22
"""Bytes that are taken at a time."""


@cache
def _redis() -> Redis:
    # A broker that is away is what some drills are about: the task waits for it, as one that writes to a database would.
    retry = Retry(ConstantBackoff(1), OUTAGE)
    return Redis.from_url(os.environ["CELERY_RESULT_BACKEND"], retry=retry, socket_timeout=3, socket_connect_timeout=3)


def _write(run: str, number: int, what: str, node: str) -> None:
    client, key = _redis(), f"fleet.drill.{run}"
    seconds, micros = client.time()
    with client.pipeline(transaction=False) as pipeline:
        pipeline.rpush(key, json.dumps([number, what, seconds + micros / 1e6, node]))
        pipeline.expire(key, KEPT)
        pipeline.execute()


# Tried again until it ends well: what a broken release fails, a good one does.
@shared_task(  # type: ignore[untyped-decorator]
    name="fleet.drill",
    base=Task,
    bind=True,
    ignore_result=True,
    acks_late=True,
    reject_on_worker_lost=True,
    autoretry_for=(Exception,),
    max_retries=None,
    retry_kwargs={"countdown": 1},
)
def work(self: Any, run: str, number: int, kind: str, seconds: float) -> None:
    """kind: "cpu" computes for `seconds`; "memory" takes that many bytes, and as much again; any other waits."""
    _write(run, number, "start", self.request.hostname)
    if kind == "cpu":
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            sum(range(1000))
    elif kind == "memory":
        taken = []
        for _ in range(int(2 * seconds) // PIECE):
            taken.append(bytearray(PIECE))
    else:
        time.sleep(seconds)
    _write(run, number, "end", self.request.hostname)
