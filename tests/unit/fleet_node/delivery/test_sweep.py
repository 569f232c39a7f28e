"""What dead workers held goes back to its queues: each message once, whoever tries, and in the order in which it was taken."""

import json
import os
import subprocess
from math import inf
from threading import Barrier, Thread
from typing import Any

import pytest
from redis import Redis

from fleet_node.delivery import sweep
from fleet_node.delivery.holdings import Holdings, boot_id, started
from fleet_node.delivery.keys import Keys, holder_of, node_of, process_of
from fleet_node.delivery.lease import find_predecessors, renew
from fleet_node.delivery.scripts import FETCH

KEYS = Keys()
DEAD = "w1@h|boot|1|2|token"


def message(tag: str, **more: Any) -> str:
    """A message as kombu sends it."""
    delivery = {"exchange": "", "routing_key": "q"}
    return json.dumps({"body": "", "headers": {}, "properties": {"delivery_info": delivery, "delivery_tag": tag}, **more})


def time_of(redis: Redis) -> float:
    seconds, microseconds = redis.time()
    return seconds + microseconds / 1e6


def take(redis: Redis, number: int, holder: str = DEAD, acknowledge: tuple[str, ...] = (), *lists: str) -> Any:
    """Fetch messages as a worker does."""
    lists = lists or ("q",)
    named = (KEYS.unacked, KEYS.index, KEYS.held(holder), KEYS.workers, KEYS.marks, KEYS.ages, *lists)
    ends = [f', "", "{name}"]' for name in lists]
    arguments = (f"{time_of(redis):.6f}", str(number), str(len(acknowledge)), holder, *acknowledge, *ends)
    return redis.eval(FETCH, len(named), *named, *arguments)


def score(redis: Redis, key: str, member: str) -> float:
    return redis.zscore(key, member) or 0.0


def in_order(redis: Redis, name: str = "q") -> list[str]:
    """Delivery tags in a list, the next to be taken first."""
    return [json.loads(entry)["properties"]["delivery_tag"] for entry in reversed(redis.lrange(name, 0, -1))]


def held_by_a_dead_worker(redis: Redis, number: int) -> None:
    """A worker has taken so many of the messages m0, m1, … and its lease has ended."""
    for index in range(number):
        redis.lpush("q", message(f"m{index}"))
    redis.zadd(KEYS.workers, {DEAD: time_of(redis) - 1})
    while redis.llen("q"):
        take(redis, 32)
    assert redis.hlen(KEYS.unacked) == redis.zcard(KEYS.index) == redis.hlen(KEYS.held(DEAD)) == number


def nothing_is_left(redis: Redis) -> bool:
    return not redis.exists(KEYS.unacked, KEYS.index, KEYS.held(DEAD), KEYS.workers, KEYS.swept)


def test_all_that_a_dead_worker_held_is_back_in_the_order_in_which_it_was_taken(redis: Redis) -> None:
    held_by_a_dead_worker(redis, 450)
    assert sweep.claim(redis, KEYS, time_of(redis)) == [DEAD]
    assert sweep.give_back_all(redis, KEYS, DEAD) == (450, "")
    assert in_order(redis) == [f"m{index}" for index in range(450)]
    assert nothing_is_left(redis)


def test_what_was_taken_by_priority_goes_back_to_its_own_lists(redis: Redis) -> None:
    redis.zadd(KEYS.workers, {DEAD: 1})
    for name, tag in (("q", "a"), ("q\x06\x163", "b"), ("q", "c")):
        redis.lpush(name, message(tag))
    take(redis, 3, DEAD, (), "q", "q\x06\x163")
    sweep.claim(redis, KEYS, time_of(redis))
    assert sweep.give_back_all(redis, KEYS, DEAD).number == 3
    assert (in_order(redis), in_order(redis, "q\x06\x163")) == (["a", "c"], ["b"])


def test_a_message_that_comes_back_is_marked_as_kombu_does(redis: Redis) -> None:
    held_by_a_dead_worker(redis, 1)
    sweep.give_back_all(redis, KEYS, DEAD)
    again = json.loads(redis.lrange("q", 0, -1)[0])
    assert again["headers"]["redelivered"] is again["properties"]["delivery_info"]["redelivered"] is True


def test_two_that_sweep_at_once_give_each_message_back_once(redis: Redis) -> None:
    """Also if both have claimed the dead worker: the second did because the first took long."""
    held_by_a_dead_worker(redis, 2000)
    numbers: list[int] = []
    begin = Barrier(2)

    def give_back() -> None:
        with Redis(port=redis.get_connection_kwargs()["port"], decode_responses=True) as client:
            begin.wait()
            numbers.append(sweep.give_back_all(client, KEYS, DEAD).number)

    threads = [Thread(target=give_back) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(numbers) == 2000
    assert sorted(in_order(redis)) == sorted(f"m{index}" for index in range(2000))
    assert not redis.exists(KEYS.unacked, KEYS.index, KEYS.held(DEAD))


def test_a_sweep_that_was_cut_off_is_finished_by_another(redis: Redis) -> None:
    held_by_a_dead_worker(redis, 150)
    assert sweep.claim(redis, KEYS, time_of(redis)) == [DEAD]
    sweep.give_back(redis, KEYS, DEAD, [f"m{index}" for index in reversed(range(50, 150))])  # who did this is killed now
    assert sweep.claim(redis, KEYS, time_of(redis)) == []  # it may still be at it
    redis.zadd(KEYS.swept, {DEAD: time_of(redis) - sweep.AGAIN_AFTER - 1})
    assert sweep.claim(redis, KEYS, time_of(redis)) == [DEAD]
    assert sweep.give_back_all(redis, KEYS, DEAD).number == 50
    assert in_order(redis) == [f"m{index}" for index in range(150)]
    assert nothing_is_left(redis)


def test_who_has_been_swept_removes_nothing_that_is_anothers_and_gets_nothing_more(redis: Redis) -> None:
    held_by_a_dead_worker(redis, 2)
    sweep.claim(redis, KEYS, time_of(redis))
    sweep.give_back_all(redis, KEYS, DEAD)
    other = "w2@h|boot|3|4|token"
    redis.zadd(KEYS.workers, {other: time_of(redis) + 60})
    assert len(take(redis, 1, other)) == 2 + 3  # m0
    late, state, *messages = take(redis, 5, DEAD, ("m0", "m1"))
    assert (late, state, messages) == (["m0", "m1"], -1, [])
    assert redis.hkeys(KEYS.unacked) == redis.hkeys(KEYS.held(other)) == ["m0"]
    assert in_order(redis) == ["m1"]
    assert sweep.give_back(redis, KEYS, DEAD, ["m0"]) == (0, "")


def test_a_lease_that_has_not_ended_is_left_alone(redis: Redis) -> None:
    now = time_of(redis)
    redis.zadd(KEYS.workers, {"ends later": now + 30, "has none": float("inf"), "ended": now - 0.001})
    assert sweep.claim(redis, KEYS, now) == ["ended"]
    assert sweep.claim(redis, KEYS, 0, ["has none", "unknown"]) == ["has none"]


def test_all_leases_stay_if_the_clock_of_redis_is_set_forward(redis: Redis) -> None:
    """They seem to have ended until they are renewed. The caller has asked for the time before."""
    now = time_of(redis) - 300
    redis.zadd(KEYS.workers, {"alive": now + 20, "dead": now - 1})
    assert sweep.claim(redis, KEYS, now) == ["dead"]


def test_a_lease_is_renewed_by_the_clock_of_redis(redis: Redis) -> None:
    """A virtual machine that was paused, or whose clock is off, does not know the time."""
    holdings = Holdings("w@h", 60, KEYS)
    redis.zadd(KEYS.workers, {holdings.holder: 1})
    redis.zadd(KEYS.index, {"known": 1})
    for tag in ("known", "acknowledged meanwhile"):
        holdings.hold(tag)
    holdings.set_clock(int(time_of(redis)) - 300, 0)
    assert renew(redis, holdings) > 290
    assert score(redis, KEYS.workers, holdings.holder) > time_of(redis) + 50
    assert redis.zrange(KEYS.index, 0, -1) == ["known"]
    assert score(redis, KEYS.index, "known") > time_of(redis) - 10
    assert abs(holdings.now() - time_of(redis)) < 10
    assert not holdings.swept


def test_thousands_of_messages_are_renewed_in_parts(redis: Redis) -> None:
    """As a worker holds them whose tasks wait for their ETA. Redis serves others meanwhile."""
    holdings = Holdings("w@h", 60, KEYS)
    redis.zadd(KEYS.workers, {holdings.holder: 1})
    for number in range(20_000):
        holdings.hold(str(number))
    redis.zadd(KEYS.index, dict.fromkeys(holdings.held, 1))
    renew(redis, holdings)
    assert redis.zcount(KEYS.index, 2, "+inf") == 20_000
    assert redis.info("commandstats")["cmdstat_eval"]["calls"] == 20


def test_a_holder_that_redis_does_not_know_learns_it(redis: Redis) -> None:
    holdings = Holdings("w@h", 60, KEYS)
    renew(redis, holdings)
    assert holdings.swept
    assert not redis.exists(KEYS.workers)
    old = holdings.holder
    holdings.begin_again()
    assert holdings.holder != old
    assert holdings.swept  # it has no lease yet
    holdings.entered()
    assert not holdings.swept


def test_a_message_that_redis_does_not_put_into_its_queue_is_kept(redis: Redis) -> None:
    """Somebody has written something else under the name of a queue."""
    redis.zadd(KEYS.workers, {DEAD: 1})
    for name, tag in (("p", "a"), ("q", "b"), ("p", "c")):
        redis.lpush(name, message(tag))
    take(redis, 3, DEAD, (), "p", "q")
    redis.set("p", "no list")
    number, refusal = sweep.give_back_all(redis, KEYS, DEAD)
    assert number == 1 and "WRONGTYPE" in refusal
    assert in_order(redis) == ["b"]
    redis.delete("p")
    assert sweep.give_back_all(redis, KEYS, DEAD) == (2, "")
    assert in_order(redis, "p") == ["a", "c"]


def test_an_acknowledgement_that_is_sent_again_does_not_mean_that_others_have_the_message() -> None:
    holdings = Holdings("w@h", 60, KEYS)
    holdings.not_acknowledged(["a", "b"])  # the connection was lost before Redis answered
    assert holdings.ended() == ["b", "a"]
    assert holdings.acknowledged(["b", "a", "c"], ["b", "c"]) == 1
    assert holdings.acknowledged(["b"], ["b"]) == 1
    holdings.not_acknowledged(["d"])
    holdings.begin_again()
    assert holdings.acknowledged(["d"], ["d"]) == 1


@pytest.mark.parametrize("content", ["no JSON", "[1, 2]", '"text"', '{"properties": 1, "headers": []}', '{"ä": "\\ud800"}'])
def test_what_is_no_message_of_celerys_goes_back_too(redis: Redis, content: str) -> None:
    redis.hset(KEYS.unacked, "t", f'[{content}, "", "q"]')
    redis.hset(KEYS.held(DEAD), "t", "1.0 q")
    assert sweep.give_back_all(redis, KEYS, DEAD).number == 1
    back = redis.lrange("q", 0, -1)[0]
    assert back == content or json.loads(back) == json.loads(content)


def test_what_other_consumers_hold_goes_back_after_the_visibility_timeout(redis: Redis) -> None:
    now = time_of(redis)
    for tag, age in (("old", 100), ("new", 1)):
        redis.hset(KEYS.unacked, tag, json.dumps([json.loads(message(tag)), "", "q"]))
        redis.zadd(KEYS.index, {tag: now - age})
    redis.zadd(KEYS.index, {"acknowledged": now - 100})  # kombu removes it from there last
    assert sweep.give_back_others(redis, KEYS, now - 50, lambda content, exchange, key: [key]) == 1
    assert in_order(redis) == ["old"]
    assert redis.zrange(KEYS.index, 0, -1) == redis.hkeys(KEYS.unacked) == ["new"]


def test_predecessors_are_dead_processes_of_the_same_node() -> None:
    own = holder_of("w@h", boot_id(), os.getpid(), started(os.getpid()), "t")
    dead = holder_of("w@h", boot_id(), os.getpid(), "12", "t")
    rebooted = holder_of("w@h", "another", os.getpid(), started(os.getpid()), "t")
    other = holder_of("w2@h", boot_id(), os.getpid(), "12", "t")
    assert sweep.predecessors(dict.fromkeys([own, dead, rebooted, other], 50.0), "w@h", 51) == [dead, rebooted]


def test_a_process_that_has_ended_and_is_not_waited_for_is_dead() -> None:
    """As in a container whose first process waits for no other."""
    with subprocess.Popen(["sleep", "60"]) as process:
        holder = holder_of("w@h", boot_id(), process.pid, started(process.pid), "t")
        assert sweep.predecessors({holder: 50.0}, "w@h", 0) == []
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert sweep.predecessors({holder: 50.0}, "w@h", 0) == [holder]


def test_a_machine_of_the_same_name_keeps_what_it_has_as_long_as_it_renews_its_lease(redis: Redis) -> None:
    holdings = Holdings("w@h", 60, KEYS)
    holdings.set_clock(*redis.time())
    now = time_of(redis)
    ends = {"renewed": now + 31, "late": now + 27, "without a lease": inf}
    holders = {name: holder_of("w@h", "another", 1, "2", name) for name in ends}
    redis.zadd(KEYS.workers, {holders[name]: end for name, end in ends.items()})
    assert set(find_predecessors(redis, holdings)) == {holders["late"], holders["without a lease"]}


def test_a_node_may_have_any_name() -> None:
    holder = holder_of("a|b@h", "boot", 7, "8", "t")
    assert (node_of(holder), process_of(holder)) == ("a|b@h", ("boot", 7, "8"))
