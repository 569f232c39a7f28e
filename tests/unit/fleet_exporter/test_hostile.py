"""What the exporter makes of a Redis in which anybody may have written anything: one bad entry never hides the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from fleet_exporter.entries import LONGEST
from fleet_exporter.reading import MOST_QUEUES
from fleet_node.protocol import AGES, CONSUMED, LEFT, PARKED, SIGNS, WORKERS
from tests.unit.fleet_exporter.test_exporter import ONE, TWO, Exporter, Metrics
from tests.unit.process_support import Machine, machine

pytestmark = pytest.mark.long
NAMES = ('quo"te', "new\nline", "back\\slash", "ünïcode ☃", "\ud800", "{}", "", "x" * 10_000, '"} 1\nfake_metric 1\n')
WRONG: tuple[Any, ...] = (None, True, -1, 1.5, "text", [], {}, [[]], {"a": {}}, float("nan"), float("inf"), 10**400, -(10**400))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def sign(redis: Redis, worker: str = "web-worker-1@test", **fields: Any) -> dict[str, Any]:
    """A sign of a worker that is there, as it says it now."""
    seconds: Any = redis.time()[0]
    counts = {
        "task": "good",
        "queue": "default",
        "started": 3,
        "failed": {"ValueError": 1},
        "wait": [0.5, 3],
        "runtime": [1.0, 2],
    }
    return {
        "node": worker, "at": seconds, "started_at": seconds - 100, "release": "r", "revision": "v",
        "pool": "prefork", "slots": 4, "queues": ["default"], "running": {"good": 1},
        "begun": {"good": [seconds - 5]}, "reserved": 2, "eta": 0,
        "held": {"default": [1, 2, 0]}, "draining": False, "unavailable": "", "overdue": 0, "memory": 1, "memory_max": 2,
        "oom_kills": 0, "tasks": [counts], **fields,
    }  # fmt: skip


def put(redis: Redis, entry: Any, holder: str = "web-worker-1@test|b|1|2|t", ends: float = 60) -> None:
    """Write a sign, of a worker with a lease."""
    redis.hset(SIGNS, holder, json.dumps(entry))
    redis.zadd(WORKERS, {holder: redis.time()[0] + ends})


def is_whole(scrape: Metrics) -> bool:
    """Whether a good worker and its queue are shown."""
    worker = scrape.value("fleet_worker_up", **ONE), scrape.value("fleet_worker_running", **ONE)
    return (worker, scrape.value("fleet_queue_consumers", queue="default")) == ((1, 1), 1)


def test_one_bad_entry_hides_nothing(here: Machine, tmp_path: Path) -> None:
    with here.redis() as redis:
        exporter = Exporter(here, tmp_path / "exporter")
        put(redis, sign(redis))
        redis.zadd(CONSUMED, {json.dumps(["default", "default"]): 1e10})
        with exporter.running():
            assert is_whole(exporter.scrape())
            for number, wrong in enumerate(WRONG):
                texts = [json.dumps(wrong), json.dumps({"node": wrong, "at": 1}), json.dumps(["default", wrong]), "[" * 5000]
                for index, text in enumerate((*texts, "not JSON", b"\xff\xfe")):
                    redis.hset(SIGNS, f"bad{number}.{index}|b|1|2|t", text)
                    redis.hset(AGES, f"bad{number}.{index}", text)
                    redis.lpush(LEFT, text)
                    redis.zadd(CONSUMED, {text: 1})
                redis.zadd(WORKERS, {json.dumps(wrong): 1e12, f"bad{number}.0|b|1|2|t": 1e12, b"\xff": 1e12})
                good: dict[str, Any] = sign(redis, queues=["other"])
                for field in good:
                    put(redis, {**good, field: wrong}, f"web-worker-2@test|b|{number}|{field}|t")
                for field in ("running", "begun", "held"):
                    put(redis, {**good, field: {"x": wrong}}, f"web-worker-3@test|b|{number}|{field}|t")
                for field in ("received", "started", "failed", "runtime", "wait", "task", "queue"):
                    put(redis, {**good, "tasks": [{**good["tasks"][0], field: wrong}]}, f"web-worker-4@test|b|{number}|{field}|t")
                redis.lpush(LEFT, json.dumps([wrong, good]), json.dumps(["x|b|1|2|t", {**good, "tasks": wrong}]))
                age = {"at": good["at"], "length": 1, "covered": 1, "earliest": 1, "latest": 2, "known": "mark"}
                for field in age:
                    redis.hset(AGES, f"bad{number}.{field}", json.dumps({**age, field: wrong}))
                assert is_whole(exporter.scrape()), wrong
            before = exporter.scrape()
            for field in sign(redis):  # of an earlier release
                if field not in ("node", "at"):
                    lacking = sign(redis)
                    del lacking[field]
                    put(redis, lacking)
                    assert exporter.scrape().value("fleet_worker_up", **ONE) == 1, field
            put(redis, sign(redis))
            after = exporter.scrape()
            assert is_whole(after)
            for (name, labels), value in before.samples.items():
                if name.endswith(("_total", "_count", "_bucket")) and name.startswith(("celery", "fleet_queue")):
                    assert after.samples[name, labels] >= value >= 0
            for key in (SIGNS, AGES, LEFT, CONSUMED, PARKED, "default"):
                redis.delete(key)
                redis.set(key, "a key of another type")
            assert exporter.scrape().value("fleet_broker_up") == 1
            redis.set(WORKERS, "too")
            assert exporter.scrape().value("fleet_worker_up", **TWO) == 0


def test_names(here: Machine, tmp_path: Path) -> None:
    with here.redis() as redis:
        exporter = Exporter(here, tmp_path / "exporter")
        entries = [{"task": name, "queue": name, "started": 1, "failed": {name: 1}} for name in NAMES]
        put(redis, sign(redis, release=NAMES[0], queues=["default", *NAMES], running=dict.fromkeys(NAMES, 1), tasks=[]))
        for name in NAMES:
            raw = name.encode("utf-8", "surrogatepass")
            redis.zadd(CONSUMED, {json.dumps([name, name]): 1})
            redis.hset(AGES, raw, json.dumps({"at": redis.time()[0], "length": 1, "earliest": None, "latest": None}))
            redis.rpush(raw + "\x06\x16²".encode(), "x")
            redis.rpush(raw, "x")
            put(redis, sign(redis, "a" + name, queues=NAMES), f"a{name}|b|1|2|t".encode("utf-8", "surrogatepass"))  # type: ignore[arg-type]
        with exporter.running():
            exporter.scrape()
            put(redis, sign(redis, release=NAMES[0], queues=["default", *NAMES], tasks=entries))
            exporter.scrape()
            scrape = exporter.scrape()
            assert is_whole(scrape)
            assert "fake_metric" not in scrape.names
            for name in NAMES[:4]:
                found = scrape.value("celery_task_started_total", name=name, hostname="test", queue_name=name)
                assert (found, scrape.value("fleet_queue_messages", queue=name, priority="0")) == (1, 1)
            assert max(len(text) for _, labels in scrape.samples for _, text in labels) <= LONGEST


def test_many_queues_do_not_hide_those_of_the_settings(here: Machine, tmp_path: Path) -> None:
    """A queue that no worker has ever consumed is read, too: its tasks wait."""
    with here.redis() as redis:
        exporter = Exporter(here, tmp_path / "exporter")
        redis.rpush("default", *"abc")
        redis.rpush("default\x06\x163", "d")
        with exporter.running():
            scrape = exporter.scrape()
            assert scrape.value("celery_queue_length", queue_name="default") == 4
            assert scrape.value("fleet_queue_age_upper_seconds", queue="default") == float("inf")
            put(redis, sign(redis))
            redis.zadd(CONSUMED, {json.dumps([f"a{number}", f"a{number}"]): 1 for number in range(MOST_QUEUES * 3)})
            redis.zadd(CONSUMED, {json.dumps(["default", "default"]): 1})
            scrape = exporter.scrape()
            assert is_whole(scrape)
            assert scrape.value("celery_queue_length", queue_name="default") == 3
            assert len([name for name, _ in scrape.samples if name == "celery_queue_length"]) == MOST_QUEUES
            assert (scrape.value("fleet_exporter_commands") or 0) <= 20 + 2 * MOST_QUEUES


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", "5", "[" * 5000, '{"at": 1e12, "folded": false, "counts": [["a", "b", "c", {"numbers": {"started": "x"}, '
        '"failed": {"E": []}, "runtime": ["y", null], "wait": {}}]], "workers": [["h", "z", [5, {}]]]}',
    ],
)  # fmt: skip
def test_any_file_of_counts(here: Machine, tmp_path: Path, content: str) -> None:
    with here.redis() as redis:
        exporter = Exporter(here, tmp_path / "exporter")
        (exporter.folder / "counts.json").write_text(content)
        put(redis, sign(redis))
        with exporter.running():
            assert is_whole(exporter.scrape())
        assert json.loads((exporter.folder / "counts.json").read_text())["workers"]


def test_a_server_that_others_run_says_less(here: Machine, tmp_path: Path) -> None:
    exporter = Exporter(here, tmp_path / "exporter")
    with here.redis() as redis, exporter.running():
        put(redis, sign(redis))
        assert "fleet_broker_memory_bytes" in exporter.scrape().text
        redis.execute_command("ACL", "SETUSER", "monitor", "-info", "-scan", "-client|list", "+time")
        less = exporter.scrape()
        assert less.value("fleet_broker_up") == less.value("fleet_worker_up", **ONE) == 1
        assert less.value("fleet_dead_letters") == 0
        assert "fleet_broker_memory_bytes" not in less.text
