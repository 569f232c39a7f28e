"""Idle workers are woken by one listener. What happens if it dies, or is not heard."""

from pathlib import Path

import pytest
from redis import Redis

from tests.unit.fleet_node.delivery.lease_support import begun, ended, kill, leased, send, until
from tests.unit.fleet_node.delivery.proxy import proxy
from tests.unit.process_support import Machine

SUBSCRIBED = b"SUBSCRIBE\r\n$16\r\nfleet.listener.0\r\n"


def listener(redis: Redis) -> int:
    """The number of the worker that listens; 0 if none does."""
    holder: bytes | None = redis.get("fleet.listener")  # type: ignore[assignment]
    return int(holder.split(b"@")[0].rsplit(b"-", 1)[1]) if holder else 0


def wait_for_a_bell(redis: Redis, count: int) -> bool:
    """Until so many workers wait for a bell."""
    return until(lambda: sum(of["cmd"] == "bzpopmin" for of in redis.client_list()) == count)


def runs(here: Machine, number: int) -> bool:
    """Send a task. Returns whether it has run in time."""
    with here.client() as client:
        send(client, number)
        return until(lambda: number in ended(here))


@pytest.mark.long
def test_another_worker_listens_if_the_listener_dies(tmp_path: Path) -> None:
    with leased(tmp_path, lease=60) as here, here.redis() as redis:
        release = here.release("r")
        for number in (1, 2, 3):
            here.start(release, number)
        assert until(lambda: listener(redis) > 0)
        dead = listener(redis)
        kill(here, dead)
        assert runs(here, 0)
        assert until(lambda: listener(redis) not in (0, dead))
        assert runs(here, 1)
        here.stop([f"celery-web@{listener(redis)}.service"])  # in order: nobody waits for its end
        assert runs(here, 2)


@pytest.mark.long
def test_a_listener_whose_subscription_is_cut_in_silence_subscribes_anew(tmp_path: Path) -> None:
    with leased(tmp_path, lease=60) as here, here.redis() as redis, proxy(here.port) as between:
        here.more["CELERY_BROKER_URL"] = f"redis://127.0.0.1:{between.port}/0"
        release = here.release("r")
        here.start(release, 1)
        assert until(lambda: listener(redis) == 1)
        here.start(release, 2)
        assert until(lambda: len(between.saying(SUBSCRIBED)) == 2)
        for cut in between.saying(SUBSCRIBED):
            cut.frozen = True
        # A listener that has not heard of the other yet speaks every 30 s, and then does not hear itself.
        assert until(lambda: len(between.saying(SUBSCRIBED)) == 2, 60), here.output()
        assert runs(here, 0)
        assert all(worker.poll() is None for worker in here.running.values())


@pytest.mark.long
def test_a_queue_that_comes_while_a_worker_looks_into_others_is_looked_into_too(tmp_path: Path) -> None:
    """Else it waits 30 s for a bell that nobody rings: the listener has not been told of the queue."""
    with leased(tmp_path, lease=60) as here, here.redis() as redis, here.client() as client, proxy(here.port) as between:
        here.more["CELERY_BROKER_URL"] = f"redis://127.0.0.1:{between.port}/0"
        here.start(here.release("r"))
        assert until(lambda: listener(redis) == 1)
        assert wait_for_a_bell(redis, 1)
        (fetching,) = between.saying(b"BZPOPMIN")
        fetching.delay = 1.0
        before = fetching.sent.count(b"EVALSHA")
        client.control.add_consumer("first")
        assert until(lambda: fetching.sent.count(b"EVALSHA") > before)
        client.control.add_consumer("second")
        assert until(lambda: fetching.sent.count(b"second") > 0)
        fetching.delay = 0.0
        send(client, 1, queue="second")
        assert until(lambda: 1 in begun(here), 20), here.output()


@pytest.mark.long
def test_a_message_wakes_one_worker(tmp_path: Path) -> None:
    """All wait, each for the bell of the queue; each task is one token, and goes to who has waited longest."""
    with leased(tmp_path, "solo", lease=60) as here, here.redis() as redis:
        release = here.release("r")
        for number in (1, 2, 3, 4):
            here.start(release, number)
        assert until(lambda: listener(redis) > 0)
        for number in range(12):
            assert wait_for_a_bell(redis, 4)
            assert runs(here, number)
        shares = [sum(workers == [f"web-worker-{number}@test"] for workers in begun(here).values()) for number in (1, 2, 3, 4)]
        assert set(shares) <= {2, 3, 4}, shares  # who asks anew, every few seconds, is the last of those that wait


@pytest.mark.long
def test_a_queue_that_is_added_to_a_waiting_worker_is_served(tmp_path: Path) -> None:
    """It waits for the bells of the queues that it had."""
    with leased(tmp_path, lease=60) as here, here.client() as client, here.redis() as redis:
        here.start(here.release("r"))
        assert until(lambda: listener(redis) == 1)
        assert wait_for_a_bell(redis, 1)
        client.control.add_consumer("more", destination=["web-worker-1@test"], reply=True)
        send(client, 0, queue="more")
        assert until(lambda: ended(here) == {0}), here.output()
        assert until(lambda: redis.zcard("fleet.lists") == 8)


@pytest.mark.long
def test_tasks_come_too_if_redis_does_not_notify(tmp_path: Path) -> None:
    with leased(tmp_path, lease=60) as here, here.redis() as redis:
        redis.config_set("notify-keyspace-events", "")
        release = here.release("r")
        here.start(release, 1)
        here.start(release, 2)
        assert until(lambda: listener(redis) > 0)
        for number in range(3):
            assert wait_for_a_bell(redis, 2)
            assert runs(here, number)
