"""What a worker says of itself: in Redis, and when it is asked."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fleet_node.protocol import LEFT, LEFT_SECONDS, SIGNS, TaskCounts, WorkerSign
from tests.unit.fleet_node.delivery.lease_support import begun, kill, leased, send, until
from tests.unit.process_support import Machine, pools

APP = """
import time

@app.task(name="short")
def short():
    time.sleep(0.02)

@app.task(name="bad")
def bad():
    raise ValueError("a secret")

@app.task(name="again", bind=True)
def again(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)

@app.task(name="no", bind=True)
def no(self):
    from celery.exceptions import Reject
    raise Reject("no", requeue=False)

@app.task(name="slow", time_limit=1)
def slow():
    time.sleep(30)
"""
POOLS = pools("threads", "prefork", "gevent", "solo")
pytestmark = pytest.mark.long


def signs(here: Machine) -> dict[str, WorkerSign]:
    """Node → its sign in Redis."""
    with here.redis() as redis:
        entries: Any = redis.hgetall(SIGNS)
    return {sign["node"]: sign for sign in map(json.loads, entries.values())}


def asked(here: Machine) -> dict[str, WorkerSign]:
    """Node → what it answers."""
    with here.client() as client:
        answers: dict[str, WorkerSign] = client.control.inspect(timeout=2)._request("fleet_sign") or {}
    return answers


def by_task(sign: WorkerSign) -> dict[str, TaskCounts]:
    return {counts["task"]: counts for counts in sign["tasks"]}


@POOLS
def test_every_end_of_a_task_is_counted(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool, lease=60) as here, here.client() as client:
        here.start(here.release("r", APP))
        sent = time.time()
        client.send_task("short", expires=0.0001, queue="default")
        for _ in range(3):
            client.send_task("short", queue="default", headers={"fleet_sent_at": sent - 7})
            client.send_task("bad", queue="default")
        for name in ("again", "no", *(["slow"] if pool == "prefork" else [])):
            client.send_task(name, queue="default")
        last = client.send_task("short", queue="default")
        last.get(timeout=20)
        assert until(lambda: not asked(here)["web-worker-1@test"]["running"])
        counts = by_task(asked(here)["web-worker-1@test"])
        short = counts["short"]
        assert (short["received"], short["started"], short["succeeded"], short["revoked"]) == (5, 4, 4, 1)
        assert sum(short["runtime"][1:]) == 4
        assert 4 * 0.02 <= short["runtime"][0] < 20
        assert sum(short["wait"][1:]) == 4
        assert 3 * 7 <= short["wait"][0] < 3 * 7 + 60, "three say that they were sent 7 s before"
        assert (counts["bad"]["failed"], "succeeded" in counts["bad"]) == ({"ValueError": 3}, False)
        assert (counts["again"]["started"], counts["again"]["retried"], counts["again"]["succeeded"]) == (3, 2, 1)
        assert (counts["no"]["rejected"], "failed" in counts["no"]) == (1, False)
        if pool == "prefork":
            assert counts["slow"]["failed"] == {"TimeLimitExceeded": 1}
        assert all(entry["queue"] == "default" for entry in counts.values())
        assert "fleet.probe" not in counts
        assert until(lambda: by_task(signs(here)["web-worker-1@test"]) == counts, 15), "the same without being asked"


@POOLS
def test_a_sign_says_what_the_worker_does(tmp_path: Path, pool: str) -> None:
    slots = 1 if pool == "solo" else 4
    with leased(tmp_path, pool, lease=60) as here, here.client() as client:
        here.prefetch = 4
        here.start(here.release("r"))
        assert until(lambda: signs(here))
        for number in range(slots):
            send(client, number, 12)
        for number in range(2):
            send(client, 10 + number, 0, countdown=3600)
        for number in range(2):
            send(client, 20 + number, 0)
        assert until(lambda: len(begun(here)) >= slots)
        assert until(lambda: signs(here)["web-worker-1@test"]["running"] == {"fleet.drill": slots}, 15)
        if pool != "solo":  # its loop, which fetches, runs the task
            assert until(lambda: signs(here)["web-worker-1@test"]["eta"] == 2, 15)
        sign = signs(here)["web-worker-1@test"]
        assert sign["held"]["default"][0] == slots
        assert [abs(sign["at"] - at) < 60 for at in sign["begun"]["fleet.drill"]] == [True] * slots
        assert sum(sign["held"]["default"]) == slots + sign["reserved"] + sign["eta"]
        assert (sign["slots"], sign["queues"], sign["release"], sign["revision"]) == (slots, ["default"], "r", "v1")
        with here.redis() as redis:
            seconds, _ = redis.time()
        assert seconds - 30 < sign["started_at"] < sign["at"] <= seconds + 1
        if pool != "solo":  # which is busy
            assert asked(here)["web-worker-1@test"]["started_at"] == sign["started_at"], (
                "a worker that starts again is told by it"
            )
        assert not sign["draining"]


def test_the_sign_of_a_dead_worker_goes_with_its_lease(tmp_path: Path) -> None:
    with leased(tmp_path, lease=3) as here:
        release = here.release("r")
        here.start(release, 1)
        here.start(release, 2)
        assert until(lambda: len(signs(here)) == 2)
        kill(here, 1)
        assert set(signs(here)) == {"web-worker-1@test", "web-worker-2@test"}
        assert until(lambda: set(signs(here)) == {"web-worker-2@test"}, 20)
        here.stop(["celery-web@2.service"])
        assert signs(here) == {}


@POOLS
def test_what_a_worker_counted_last_outlives_it(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool, lease=60) as here, here.client() as client:
        here.start(here.release("r", APP))
        assert until(lambda: signs(here))
        client.send_task("short", queue="default").get(timeout=20)
        with here.redis() as redis:
            holders: Any = redis.hkeys(SIGNS)
            here.stop(["celery-web@1.service"])
            ((left, sign),) = map(json.loads, redis.lrange(LEFT, 0, -1))
            assert 0 < redis.ttl(LEFT) <= LEFT_SECONDS
        assert (left, by_task(sign)["short"]["succeeded"]) == (holders[0].decode(), 1)


def test_a_task_beyond_its_limit_is_overdue(tmp_path: Path) -> None:
    """Threads cannot be ended: the limit of `slow` is passed."""
    with leased(tmp_path, "threads", lease=60) as here, here.client() as client:
        here.start(here.release("r", f"from fleet_node.worker import sign\nsign.OVERDUE = 1\n{APP}"))
        client.send_task("slow", queue="default")
        assert until(lambda: signs(here) and signs(here)["web-worker-1@test"]["overdue"] == 1, 20)


def test_a_full_redis_refuses_signs_and_nothing_else(tmp_path: Path) -> None:
    with leased(tmp_path, lease=3) as here, here.client() as client:
        here.start(here.release("r", APP))
        assert until(lambda: signs(here))
        for _ in range(20):
            client.send_task("short", queue="default", ignore_result=True)
        with here.redis() as redis:
            redis.config_set("maxmemory", 1)
            assert until(lambda: not redis.exists("default", "unacked"), 30), here.output()
            before = redis.zscore("fleet.workers", redis.zrange("fleet.workers", 0, 0)[0])
            assert until(lambda: (redis.zrange("fleet.workers", 0, 0, withscores=True) or [(b"", 0)])[0][1] > before + 12, 20)
            assert "short" not in by_task(signs(here)["web-worker-1@test"]), "the sign was refused"
            redis.config_set("maxmemory", 0)
        assert until(lambda: by_task(signs(here)["web-worker-1@test"]).get("short", {}).get("succeeded") == 20, 15)
