"""A task that takes its worker down is tried again so many times, and then parked; nothing else suffers."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from celery.exceptions import WorkerLostError
from redis import RedisError

from fleet.broker import parked
from fleet.spec.reliability import RELIABILITY
from fleet_node.protocol import ParkedTask
from tests.unit.fleet_node.patches.test_patches import ended, until
from tests.unit.process_support import Machine, machine
from tests.unit.shop_support import PATIENCE

JOBS = """
import os, signal
from celery.exceptions import Reject
from redis import Redis

app.conf.update(task_acks_late=False, task_reject_on_worker_lost=False)  # the fleet has its own mind about it

def count(name):
    with Redis.from_url(os.environ["CELERY_BROKER_URL"]) as redis:
        return redis.incr(name)

@app.task
def poison(what, card=None):
    count("poisoned")
    os.kill(os.getpid(), signal.SIGKILL)

@app.task
def pay():
    count("paid")
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(bind=True, max_retries=20)
def poll(self):
    if count("polled") < 8:
        raise self.retry(countdown=1)
    return "done"

@app.task(bind=True)
def put_off(self):
    if count("tried") < 8:
        raise Reject("not yet", requeue=True)
    return "done"
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as here:
        here.pool = "prefork"
        here.more = {
            "FLEET_MAX_DELIVERIES": "2",
            "FLEET_CELERY": json.dumps({"settings": RELIABILITY, "at_most_once": ["jobs.pa*"]}),
        }
        yield here


@pytest.mark.long
def test_a_poisonous_task_is_parked_and_its_siblings_finish(here: Machine) -> None:
    here.start(here.release("r", JOBS))
    with here.client() as client, here.redis() as redis:
        poisonous = client.send_task("jobs.poison", ["lethal"], {"card": 7}, queue="default")
        for number in range(12):
            client.send_task("fleet.drill", ["r", number, "io", 0.2], queue="default")
        with pytest.raises(WorkerLostError, match=r"parked after 2 redeliveries: .*SIGKILL"):
            poisonous.get(timeout=PATIENCE)
        assert until(lambda: ended(here) == set(range(12)))
        assert len(here.entries("r")) == 24  # none ran twice
        assert redis.get("poisoned") == b"3"
        (letter,) = (json.loads(text) for text in redis.hvals("fleet.parked"))
        assert (letter["id"], letter["task"], letter["queue"], letter["redelivered"]) == (
            poisonous.id,
            "jobs.poison",
            "default",
            2,
        )
        assert (letter["args"], letter["kwargs"]) == ("['lethal']", "{'card': 7}")
        assert "SIGKILL" in letter["reason"]
        assert letter["worker"] == "web-worker-1@test"
        assert until(lambda: redis.hlen("unacked") == 0)
        assert redis.llen("default") == 0


@pytest.mark.long
def test_what_is_parked_is_told_sent_again_or_dropped(here: Machine) -> None:
    here.start(here.release("r", JOBS))
    with here.client() as client, here.reading() as redis:
        sent = client.send_task("jobs.poison", ["lethal"], queue="default", priority=6)
        assert until(lambda: redis.hlen("fleet.parked") == 1)
        (letter,) = parked.read(redis)
        assert parked.describe(letter).startswith(f"{sent.id[:8]}  20")
        assert "jobs.poison ['lethal']\n          from default, after 2 redeliveries, by web-worker-1@test: " in parked.describe(
            letter
        )
        assert letter["key"] == "default\x06\x166"
        assert parked.requeue(redis, [letter]) == 1
        assert parked.requeue(redis, [letter]) == 0  # by somebody else, a moment ago
        assert until(lambda: redis.get("poisoned") == "6" and redis.hlen("fleet.parked") == 1)  # three more times
        assert parked.drop(redis, parked.read(redis)) == 1
        assert parked.read(redis) == []
        assert list(redis.scan_iter("fleet.deliveries.*")) == []


@pytest.mark.long
def test_a_task_that_tries_again_is_none_that_takes_its_worker_down(here: Machine) -> None:
    """Its message goes back to the queue when a worker stops. Each of its retries inherits the mark of that."""
    here.pool = "threads"
    here.start(here.release("r", JOBS))
    with here.client() as client, here.redis() as redis:
        polls = client.send_task("jobs.poll", queue="default", countdown=4)
        assert until(lambda: redis.hlen("unacked") == 1)  # held for its ETA
        assert here.bring("restart", ["celery-web@1.service"])
        assert polls.get(timeout=PATIENCE) == "done"
        assert redis.get("polled") == b"8"
        assert redis.hlen("fleet.parked") == 0
        assert until(lambda: not list(redis.scan_iter("fleet.deliveries.*")))  # it has ended in order


@pytest.mark.long
def test_two_messages_of_one_id_are_two(here: Machine) -> None:
    here.start(here.release("r", JOBS))
    with here.client() as client, here.reading() as redis:
        for day in ("monday", "tuesday"):
            client.send_task("jobs.poison", [day], queue="default", task_id="nightly")
        assert until(lambda: redis.hlen("fleet.parked") == 2)
        chosen = parked.chosen(parked.read(redis), ["nightly"], False, None)
        assert {letter["args"] for letter in chosen} == {"['monday']", "['tuesday']"}
        assert redis.get("poisoned") == "6"


@pytest.mark.long
def test_it_goes_back_to_where_it_came_from_whatever_the_app_calls_its_keys(here: Machine) -> None:
    here.start(here.release("r", JOBS + "app.conf.broker_transport_options = {'global_keyprefix': 'p:'}\n"))
    with here.client() as client, here.reading() as redis:
        client.conf.broker_transport_options = {"global_keyprefix": "p:"}
        client.send_task("jobs.poison", [1], queue="default")
        assert until(lambda: redis.hlen("fleet.parked") == 1)
        assert parked.requeue(redis, parked.read(redis)) == 1
        assert until(lambda: redis.get("poisoned") == "6" and redis.hlen("fleet.parked") == 1)


@pytest.mark.long
def test_a_broker_that_is_full_loses_no_parked_task(here: Machine) -> None:
    here.start(here.release("r", JOBS))
    with here.client() as client, here.reading() as redis:
        client.send_task("jobs.poison", [1], queue="default")
        assert until(lambda: redis.hlen("fleet.parked") == 1)
        here.stop(["celery-web@1.service"])
        redis.config_set("maxmemory", 1 << 20)
        with pytest.raises(RedisError, match=r"OOM|maxmemory"):
            parked.requeue(redis, parked.read(redis))
        assert redis.hlen("fleet.parked") == 1
        assert redis.llen("default") == 0


def test_one_that_has_expired_would_be_thrown_away() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert parked.expired({"expires": "2026-11-24T11:59:00+00:00"}, now) == "2026-11-24T11:59:00Z"
    assert parked.expired({"expires": "2026-11-24T12:01:00"}, now) == ""
    assert parked.expired({"expires": None}, now) == ""


@pytest.mark.long
def test_what_another_release_sends_is_kept_for_it(here: Machine) -> None:
    """In the middle of a rollout, a new worker sends tasks that an old worker does not know."""
    receiver = "\n@app.task\ndef two(number):\n    count('two')\n"
    sender = "\n@app.task\ndef one(number):\n    app.send_task('jobs.two', [number], queue='default')\n"
    here.pool = "threads"
    here.start(here.release("old", JOBS + sender))
    with here.client() as client, here.reading() as redis:
        for number in range(5):
            client.send_task("jobs.one", [number], queue="default")
        assert until(lambda: redis.hlen("fleet.parked") == 5)
        (text, *_) = map(parked.describe, parked.read(redis))
        assert "jobs.two" in text
        assert "by web-worker-1@test: no task of old" in text
        assert until(lambda: redis.hlen("unacked") == 0)  # those that sent them end
        here.stop(["celery-web@1.service"])  # the last of the old ones: as long as one is there, it may take them again
        here.start(here.release("new", JOBS + sender + receiver), 2)
        assert until(lambda: redis.get("two") == "5")
        assert until(lambda: redis.hlen("fleet.parked") == 0)


def letter(id_: str, task: str, at: float) -> ParkedTask:
    return {
        "field": id_,
        "id": id_,
        "task": task,
        "args": "",
        "kwargs": "",
        "queue": "default",
        "redelivered": 0,
        "reason": "",
        "worker": "web-worker-1@test",
        "at": at,
        "expires": None,
        "key": "default",
        "message": {},
    }


def test_which_are_meant() -> None:
    tasks = (("abc1", "t.a"), ("abd2", "t.b"), ("f3", "t.b"))
    known = [letter(id_, task, at) for at, (id_, task) in enumerate(tasks)]
    assert parked.chosen(known, ["abd", "f", "f3"], False, None) == known[1:]
    assert parked.chosen(known, [], False, "t.b") == known[1:]
    assert parked.chosen(known, [], True, None) == known
    for ids, everything, task, message in [
        (["ab"], False, None, "ab: 2 are meant by it"),
        (["x"], False, None, "x: none is parked with that id; parked are: t.a, t.b"),
        ([], False, "t.c", "--task: none is parked of t.c; parked are: t.a, t.b"),
        ([], False, None, "say which"),
        (["f3"], True, None, "say which"),
    ]:
        with pytest.raises(parked.ParkedError, match=message):
            parked.chosen(known, ids, everything, task)


@pytest.mark.long
def test_a_worker_that_is_killed_itself_counts_too(here: Machine) -> None:
    """As in a pool of one process, where the task's end is the worker's."""
    here.pool = "threads"
    here.more["FLEET_CELERY"] = json.dumps(
        {
            "settings": RELIABILITY,
            "broker_transport_options": {"visibility_timeout": 2, "unacked_restore_interval": 1, "unacked_restore_throttle": 1},
        }
    )
    release = here.release("r", JOBS)
    with here.client() as client, here.redis() as redis:
        client.send_task("jobs.poison", [1], queue="default")
        for _ in range(3):
            worker = here.start(release)
            assert worker.wait(PATIENCE) == -signal.SIGKILL
        worker = here.start(release)
        assert until(lambda: redis.hlen("fleet.parked") == 1)
        assert redis.get("poisoned") == b"3"
        assert worker.poll() is None
        (letter,) = (json.loads(text) for text in redis.hvals("fleet.parked"))
        assert letter["reason"] == "its worker ended before it did"


@pytest.mark.long
def test_a_task_that_puts_itself_off_is_not_parked(here: Machine) -> None:
    here.start(here.release("r", JOBS))
    with here.client() as client, here.redis() as redis:
        client.send_task("jobs.put_off", queue="default")
        assert until(lambda: redis.get("tried") == b"8")
        assert until(lambda: redis.hlen("unacked") == 0)
        assert redis.hlen("fleet.parked") == 0


@pytest.mark.long
def test_a_task_that_must_not_run_twice_does_not(here: Machine) -> None:
    here.start(here.release("r", JOBS))
    with here.client() as client, here.redis() as redis:
        with pytest.raises(WorkerLostError, match="SIGKILL"):
            client.send_task("jobs.pay", queue="default").get(timeout=PATIENCE)
        assert redis.get("paid") == b"1"
        assert redis.hlen("fleet.parked") == 0


@pytest.mark.long
def test_a_child_that_leaks_is_recycled_after_its_task(here: Machine) -> None:
    """By the flag that sizing gives the worker, below the limit at which the kernel kills."""
    here.flags = "--max-memory-per-child=150000"  # KiB
    leak = "\nleaked = []\n@app.task\ndef leak():\n    leaked.append(bytearray(100 << 20))\n    return os.getpid(), len(leaked)\n"
    here.start(here.release("r", JOBS + leak))
    with here.client() as client:
        runs = [client.send_task("jobs.leak", queue="default").get(timeout=PATIENCE) for _ in range(6)]
    assert all(count <= 2 for _, count in runs), runs
    assert len({pid for pid, _ in runs}) >= 3
