"""How long the oldest message waits, against producers that know it: they write the time into the body, which nobody reads."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from fleet.broker import ages as broker_ages
from fleet.broker.ages import ages
from fleet_node.delivery import sweep
from fleet_node.delivery.ages import MARK, MOST_MARKS
from fleet_node.protocol import ListAge
from tests.unit.fleet_node.delivery.lease_support import kill, leased, send, until
from tests.unit.fleet_node.delivery.test_sweep import DEAD, KEYS, in_order, take, time_of
from tests.unit.fleet_node.delivery.test_wakeup import listener

NAMES = ("q", "q\x06\x163", "q\x06\x169")
NAP = """
@app.task(name="nap")
def nap(seconds):
    import time
    time.sleep(seconds)
"""
LATE = 0.05
"""Seconds that lie between a time that is written into a message and its arrival."""


def message(tag: str, sent: float, properties: Any = (), **headers: Any) -> str:
    """A message as kombu sends it, that was sent then."""
    delivery = {"delivery_info": {"exchange": "", "routing_key": "q"}, "delivery_tag": tag}
    return json.dumps({"body": str(sent), "headers": headers, "properties": dict(properties) | delivery})


def push(redis: Redis, *tags: str, name: str = "q", **headers: Any) -> float:
    """Send messages. Returns when."""
    sent = time_of(redis)
    redis.lpush(name, *(message(tag, sent, **headers) for tag in tags))
    return sent


def sent_of(text: Any) -> float:
    return float(json.loads(text)["body"])


def mark(redis: Redis, *names: str, script: str = MARK) -> dict[str, ListAge]:
    """Mark as the listener does. Returns what is known then, by list."""
    names = names or ("q",)
    redis.eval(script, 3 + len(names), KEYS.workers, KEYS.ages, KEYS.marks, *names, *[0] * len(names))
    return read(redis)


def read(redis: Redis) -> dict[str, ListAge]:
    entries: Any = redis.hgetall(KEYS.ages)
    return {name: json.loads(text) for name, text in entries.items()}


def holds(entry: ListAge, sent: float, within: float = 1.0) -> bool:
    """Whether an oldest message that was sent then is known to be it, within so many seconds."""
    earliest, latest = entry["earliest"] or 0.0, entry["latest"] or 0.0
    return earliest - 0.002 <= sent <= latest + 0.002 and latest - sent <= within + LATE


def enter(redis: Redis, *holders: str) -> None:
    redis.zadd(KEYS.workers, dict.fromkeys(holders, float("inf")))


@pytest.mark.parametrize(
    "number", [pytest.param(100_000, marks=pytest.mark.long), pytest.param(1_000_000, marks=pytest.mark.slow)]
)
def test_the_oldest_is_known_whatever_comes_and_goes(redis: Redis, number: int) -> None:
    """In three lists, while a backlog grows and is worked off, and workers die with what they hold."""
    mark(redis, *NAMES)
    tag = taken = died = 0
    marked_at, checks, width = 0.0, 0, 0.0
    holder, acknowledge = "w0", ()
    known: set[str] = set()
    enter(redis, holder)
    while tag < number or any(map(redis.llen, NAMES)):
        if tag < number and (tag // (number // 4)) % 2 * taken * 3 <= tag * 3:
            for name in NAMES:
                push(redis, *(f"m{index}" for index in range(tag, tag + 700)), name=name)
                tag += 700
        if tag % (number // 5) > number // 10 or tag >= number:
            _, _, *answer = take(redis, 500, holder, tuple(acknowledge), *NAMES)
            acknowledge = tuple(tag.partition("\n")[0] for tag in answer[1::3])
            taken += len(acknowledge)
            if taken % 17 == 0 and died < 30:  # it dies, and had acknowledged nothing of these
                sweep.claim(redis, KEYS, 0, [holder])
                sweep.give_back_all(redis, KEYS, holder)
                taken, died, holder, acknowledge = taken - len(acknowledge), died + 1, f"w{died + 1}", ()
                enter(redis, holder)
                marked_at = 0.0
        if time.monotonic() - marked_at > 0.25:
            marked_at = time.monotonic()
            for name, entry in mark(redis, *NAMES).items():
                oldest = redis.lindex(name, -1)
                assert (oldest is None) == (entry["known"] == "empty")
                if oldest is not None:
                    assert holds(entry, sent_of(oldest)), (name, entry, oldest)
                    known.add(entry["known"])
                    checks += 1
                    width = max(width, (entry["latest"] or 0.0) - (entry["earliest"] or 0.0))
    assert tag >= number
    assert known == {"mark", "back"}
    assert (checks > 20, died > 2, width < 2.0) == (True, True, True), (checks, died, width)
    mark(redis, *NAMES)
    assert not redis.keys(f"{KEYS.marks}*")


def test_messages_that_come_into_an_empty_queue_are_not_older_than_the_last_look(redis: Redis) -> None:
    mark(redis)
    sent = push(redis, "a", "b")
    entry = mark(redis)["q"]
    assert holds(entry, sent) and (entry["known"], entry["length"]) == ("mark", 2)
    later = push(redis, "c")
    enter(redis, "w")
    take(redis, 2, "w")
    assert holds(mark(redis)["q"], later)


def test_a_queue_that_waited_before_the_fleet_came_is_at_least_as_old_as_the_fleet(redis: Redis) -> None:
    push(redis, "a", "b")
    first = mark(redis)["q"]
    assert (first["known"], first["earliest"]) == ("unknown", 0.0)
    enter(redis, "w")
    take(redis, 1, "w")
    assert mark(redis)["q"]["latest"] == first["latest"]


def test_what_comes_back_counts_from_when_it_was_sent_first(redis: Redis) -> None:
    mark(redis)
    sent = push(redis, "a")
    mark(redis)
    for holder in ("w1", "w2"):
        enter(redis, holder)
        take(redis, 1, holder)
        push(redis, f"after {holder}")
        sweep.claim(redis, KEYS, 0, [holder])
        assert sweep.give_back_all(redis, KEYS, holder).number == 1
        entry = mark(redis)["q"]
        assert in_order(redis)[0] == "a"
        assert holds(entry, sent) and entry["known"] == "back"
    enter(redis, "w3")
    take(redis, 1, "w3")
    assert mark(redis)["q"]["known"] == "mark"


def test_what_is_rejected_to_the_end_counts_from_when_it_was_sent_first(redis: Redis) -> None:
    """What is before it is not made older by that."""
    mark(redis)
    enter(redis, "w")
    sent = {"a": push(redis, "a")}
    mark(redis)
    take(redis, 1, "w")
    sent["b"] = push(redis, "b")
    assert sweep.give_back(redis, KEYS, "w", ["a"], "LPUSH").number == 1
    sent["c"] = push(redis, "c")
    for tag, known in (("b", "mark"), ("a", "back"), ("c", "mark")):
        assert in_order(redis)[0] == tag
        entry = mark(redis)["q"]
        assert holds(entry, sent[tag]) and entry["known"] == known
        take(redis, 1, "w")
    assert not redis.keys(f"{KEYS.marks}*")


def test_releases_before_the_marks_read_what_is_held(redis: Redis) -> None:
    """A worker of theirs may give back what one of ours held."""
    mark(redis)
    push(redis, "a")
    enter(redis, "w")
    before = time_of(redis)
    take(redis, 1, "w")
    taken_at, _, name = str(redis.hget(KEYS.held("w"), "a")).partition(" ")
    assert before - 0.001 <= float(taken_at) <= time_of(redis)
    assert name == "q"


def test_what_an_earlier_release_held_was_sent_before_it_was_taken(redis: Redis) -> None:
    sent = time_of(redis)
    redis.hset(KEYS.unacked, "a", f'[{message("a", sent)}, "", "q"]')
    redis.hset(KEYS.held(DEAD), "a", f"{sent:.6f} q")
    assert sweep.give_back_all(redis, KEYS, DEAD).number == 1
    entry = mark(redis)["q"]
    assert (entry["known"], entry["earliest"]) == ("back", 0.0)
    assert abs((entry["latest"] or 0) - sent) < 0.002


def test_what_another_consumer_held_counts_from_when_it_took_it(redis: Redis) -> None:
    taken = time_of(redis) - 100
    redis.hset(KEYS.unacked, "a", json.dumps([json.loads(message("a", taken)), "", "q"]))
    redis.zadd(KEYS.index, {"a": taken})
    assert sweep.give_back_others(redis, KEYS, taken + 50, lambda *_: ["q"]) == 1
    entry = mark(redis)["q"]
    assert (entry["known"], round(entry["latest"] or 0, 1)) == ("back", round(taken, 1))


def test_messages_that_another_consumer_takes_leave_no_mark(redis: Redis) -> None:
    mark(redis)
    sent = {}
    for tag in "abcde":
        sent[tag] = push(redis, tag)
        mark(redis)
    for _ in range(3):
        redis.rpop("q")
    assert holds(mark(redis)["q"], sent["d"])
    for _ in range(2):
        redis.rpop("q")
    sent["f"] = push(redis, "f")  # before the next look
    assert holds(mark(redis)["q"], sent["f"])


def test_with_other_consumers_a_long_queue_is_at_most_so_old(redis: Redis) -> None:
    mark(redis)
    first = push(redis, "a")
    mark(redis)
    push(redis, *(f"b{number}" for number in range(150)))
    redis.rpop("q")
    later = mark(redis)["q"]
    assert (later["earliest"] or 0.0) <= first
    for _ in range(60):
        redis.rpop("q")
    assert holds(mark(redis)["q"], sent_of(str(redis.lindex("q", -1))))


def iso(seconds: float, hours: int = 0) -> str:
    """So many seconds from now, as Celery writes it, in a zone that is so many hours east."""
    at = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=seconds, hours=hours)
    return f"{at.isoformat()}{hours:+03}:00"


@pytest.mark.parametrize("hours", [0, 5, -8])
def test_an_eta_in_the_future_is_not_old(redis: Redis, hours: int) -> None:
    mark(redis)
    push(redis, "a", "b", eta=iso(60, hours))
    assert mark(redis)["q"]["known"] == "eta"
    sent = push(redis, "c", eta=iso(-60, hours))
    entry = mark(redis)["q"]
    assert holds(entry, sent) and entry["known"] == "mark"
    push(redis, *(f"d{number}" for number in range(30)), eta=None)
    assert holds(mark(redis)["q"], sent)


STAMPS = [
    ("headers", "fleet_sent_at", 1.0),
    ("properties", "published_at", 1.0),
    ("headers", "sentry-task-enqueued-time", 1.0),
    ("headers", "sentry-task-enqueued-time", 1000.0),
    ("headers", "kanari_sent_ts", 1.0),
    ("headers", "doorman_sent_ts", 1.0),
    ("properties", "timestamp", 1.0),
]


@pytest.mark.parametrize(("place", "name", "unit"), STAMPS)
def test_a_stamp_of_the_producer_is_read(redis: Redis, place: str, name: str, unit: float) -> None:
    sent = time_of(redis) - 300
    stamp = {name: sent * unit}
    text = message("a", sent, stamp if place == "properties" else (), **(stamp if place == "headers" else {}))
    redis.lpush("q", text)
    entry = mark(redis)["q"]
    assert entry["known"] == "stamp"
    assert abs((entry["earliest"] or 0) - sent) < 0.001 and entry["earliest"] == entry["latest"]


@pytest.mark.parametrize("off", [-3600, 3600])
def test_a_stamp_that_cannot_be_true_does_not_count(redis: Redis, off: float) -> None:
    """The clock of a producer is wrong, or a header was copied from another task."""
    mark(redis)
    sent = time_of(redis)
    push(redis, "a", fleet_sent_at=sent + off)
    assert holds(mark(redis)["q"], sent)


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"headers": {"eta": 5, "published_at": "soon"}}'])
def test_messages_of_other_programs_are_no_obstacle(redis: Redis, text: str) -> None:
    mark(redis)
    sent = time_of(redis)
    redis.lpush("q", text)
    assert holds(mark(redis)["q"], sent)
    redis.set("p", "no list")
    entries = mark(redis, "q", "p")
    assert holds(entries["q"], sent) and entries["p"]["length"] == 0


def test_marks_are_bounded_and_every_message_lies_between_its_own(redis: Redis) -> None:
    few = MARK.replace(f"= {MOST_MARKS},", "= 8,")
    mark(redis)
    sent = {}
    for number in range(60):
        sent[f"m{number}"] = push(redis, f"m{number}")
        mark(redis, script=few)
        assert redis.llen(f"{KEYS.marks}q") <= 8
    took = max(sent.values()) - min(sent.values())  # so far apart are the few marks that are left, at most
    enter(redis, "w")
    for tag, at in sent.items():
        assert in_order(redis)[0] == tag
        entry = mark(redis, script=few)["q"]
        assert holds(entry, at, within=took)
        assert (entry["earliest"] or 0) > 0
        take(redis, 1, "w")


def test_a_redis_that_is_full_is_marked_too(redis: Redis) -> None:
    mark(redis)
    sent = push(redis, "a")
    redis.config_set("maxmemory", 1)
    assert holds(mark(redis)["q"], sent)
    enter_full = take(redis, 1, "w")  # nobody's: the lease is not there
    assert enter_full[1] == -1


def commands(redis: Redis) -> int:
    return sum(of["calls"] for of in redis.info("commandstats").values())


@pytest.mark.long
def test_a_mark_costs_the_same_at_a_million_messages(redis: Redis) -> None:
    fill = "for number = 1, ARGV[1] do redis.call('LPUSH', KEYS[1], string.gsub(ARGV[2], 'TAG', number)[1]) end"
    fill = fill.replace("string.gsub(ARGV[2], 'TAG', number)[1]", "(string.gsub(ARGV[2], 'TAG', number))")
    cost = {}
    for number in (1_000, 1_000_000):
        redis.flushall()
        mark(redis)
        for _ in range(number // 1000):
            redis.eval(fill, 1, "q", 1000, message("TAG", 0))
        redis.config_resetstat()
        assert mark(redis)["q"]["length"] == number
        cost[number] = commands(redis)
    assert cost[1_000] == cost[1_000_000] < 20


@pytest.mark.long
def test_other_databases_and_prefixes_and_the_reader(tmp_path: Path) -> None:
    """A worker with a prefix, in database 3, that is busy. What waits is read as the control machine does."""
    with leased(tmp_path, "solo", lease=60, broker_transport_options={"global_keyprefix": "shop-"}) as here:
        here.concurrency = 1
        here.more["CELERY_BROKER_URL"] = f"redis://127.0.0.1:{here.port}/3"
        here.start(here.release("r", NAP))
        with here.client() as client, Redis(port=here.port, db=3, decode_responses=True) as redis:
            client.conf.broker_url = here.more["CELERY_BROKER_URL"]
            client.conf.broker_transport_options = {"global_keyprefix": "shop-"}
            client.send_task("nap", [60], queue="default")
            assert until(lambda: broker_ages.read(redis, "shop-").queues)
            assert until(lambda: sum(broker_ages.read(redis, "shop-").lengths.values()) == 0)
            client.send_task("nap", [0], queue="default")
            assert until(lambda: broker_ages.read(redis, "shop-").ages), "somebody looks"
            redis.delete("shop-default")
            deleted = broker_ages.read(redis, "shop-").now

            def has_looked() -> bool:
                return all(entry["at"] > deleted for entry in broker_ages.read(redis, "shop-").ages.values())

            assert until(has_looked), "what comes now is younger than that look"
            before = time.time()
            client.send_task("nap", [0], queue="default", priority=3)
            client.send_task("nap", [0], queue="default")
            client.send_task("nap", [0], queue="default")

            def is_known() -> bool:
                queue = ages(broker_ages.read(redis, "shop-"))["default"]
                oldest, age = queue.oldest, time.time() - before
                known = oldest is not None and oldest.most is not None and oldest.most - oldest.least < 3
                return known and oldest is not None and abs(oldest.seconds - age) < 2 and sum(queue.waiting.values()) == 3

            assert until(is_known), (ages(broker_ages.read(redis, "shop-")), here.output())
            assert ages(broker_ages.read(redis, "shop-"))["default"].waiting == {0: 2, 3: 1, 6: 0, 9: 0}


@pytest.mark.long
def test_the_age_outlives_the_listener_and_what_it_held(tmp_path: Path) -> None:
    """It is killed. Another one marks, and its task, which waits again, counts from when it was sent."""
    with leased(tmp_path, "solo") as here, here.client() as client, here.redis() as bytes_of:
        here.concurrency = 1
        redis = Redis(port=here.port, decode_responses=True)
        release = here.release("r")
        here.start(release, 1)
        assert until(lambda: listener(bytes_of) == 1)
        here.start(release, 2)
        assert until(lambda: read(redis))
        sent = {}
        for number in (0, 1):
            sent[number] = time.time()
            send(client, number, 60)
        assert until(lambda: redis.llen("default") == 0 and redis.hlen(KEYS.unacked) == 2)
        sent[2] = time.time()
        send(client, 2)
        assert until(lambda: read(redis)["default"]["length"] == 1 and holds(read(redis)["default"], sent[2]))
        kill(here, 1)
        assert until(lambda: read(redis)["default"]["known"] == "back"), here.output(2)
        entry = read(redis)["default"]
        assert any(abs((entry["latest"] or 0) - sent[number]) <= 1 for number in (0, 1)), (entry, sent)
        assert any((entry["earliest"] or 0) <= sent[number] for number in (0, 1))
        assert listener(bytes_of) == 2
        redis.close()


@pytest.mark.long
@pytest.mark.parametrize("state", ["full", "silent"])
def test_the_listener_marks_on_a_redis_that(tmp_path: Path, state: str) -> None:
    """… is full, or does not notify."""
    with leased(tmp_path, "solo", lease=60) as here, here.client() as client:
        here.concurrency = 1
        redis = Redis(port=here.port, decode_responses=True)
        if state == "silent":
            redis.config_set("notify-keyspace-events", "")
        here.start(here.release("r", NAP))
        assert until(lambda: read(redis))
        client.send_task("nap", [60], queue="default")
        assert until(lambda: redis.hlen(KEYS.unacked) == 1 and read(redis)["default"]["length"] == 0)
        sent = time.time()
        client.send_task("nap", [0], queue="default")
        if state == "full":
            redis.config_set("maxmemory", 1 << 20)
        assert until(lambda: read(redis)["default"]["length"] == 1)
        for _ in range(3):
            at = read(redis)["default"]["at"]
            assert until(lambda at=at: read(redis)["default"]["at"] > at), here.output()  # type: ignore[misc]
            entry = read(redis)["default"]
            assert holds(entry, sent), (json.dumps(entry), sent, redis.lrange(f"{KEYS.marks}default", 0, -1))
        redis.config_set("maxmemory", 0)
        redis.close()


@pytest.mark.long
def test_nothing_is_marked_while_nothing_waits(tmp_path: Path) -> None:
    """An idle fleet sends nothing for it."""
    with leased(tmp_path, "solo", lease=60) as here, here.client() as client:
        here.concurrency = 1
        redis = Redis(port=here.port, decode_responses=True)
        release = here.release("r")
        here.start(release, 1)
        here.start(release, 2)
        send(client, 0)
        assert until(lambda: "default" in read(redis) and read(redis)["default"]["known"] == "empty")

        def calls(command: str) -> int:
            return int(redis.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))

        published = calls("publish")
        assert until(lambda: calls("publish") >= published + 2)
        published, marked, at = calls("publish"), calls("hgetall"), read(redis)["default"]["at"]
        assert until(lambda: calls("publish") >= published + 3)  # the listener says every 2 s that it is there
        assert calls("hgetall") == marked + 1  # this test's own
        assert read(redis)["default"]["at"] == at
        redis.close()
