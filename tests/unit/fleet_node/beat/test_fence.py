"""What the leader sends, on a real Redis: the lock, the message and the run are one step."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from redis import Redis

from fleet_node.beat import fence
from fleet_node.beat.fence import Fence
from fleet_node.beat.lock import Lock, is_dead, is_redis
from fleet_node.protocol import BeatRun, BeatSign
from tests.unit.shop_support import answering, free_port, process, redis_server

SIGN: BeatSign = {"node": "beat@a", "leads": True, "since": "", "release": "", "revision": ""}
RUN: BeatRun = {"last_run_at": "2026-01-01T00:00:01+00:00", "total_run_count": 1, "after": "2026-01-01T00:00:00+00:00"}
EXCHANGE = Exchange("all", "topic")  # type: ignore[no-untyped-call]


class LostError(Exception):
    """The leader would have ended."""


def lost(why: str) -> None:
    raise LostError(why)


class Leader:
    """A lock, its fence, and a publisher to two queues."""

    def __init__(self, port: int, prefix: str = "") -> None:
        self.options = {"global_keyprefix": prefix}
        self.url = f"redis://127.0.0.1:{port}/0"
        self.app = Celery(broker=self.url, set_as_current=False)
        self.app.conf.broker_transport_options = self.options
        self.lock = Lock(self.app, "beat@a", 60)
        self.fence = Fence(self.lock, lost)

    def publish(self, task: str = "t", **options: Any) -> None:
        """Send a message as Celery does."""
        with Connection(self.url, transport_options=self.options) as connection:  # type: ignore[no-untyped-call]
            for name in ("one", "two"):
                queue: Any = Queue(name, EXCHANGE, routing_key="#")  # type: ignore[no-untyped-call]
                queue(connection.default_channel).declare()
            producer = connection.Producer(auto_declare=False)
            producer.publish({}, exchange="all", routing_key="x", correlation_id=task, **options)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    number = free_port()
    with process(redis_server(number, tmp_path), tmp_path / "redis.log"):
        answering(number)
        yield number


@pytest.fixture
def lead(port: int, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Leader]:
    """lead(prefix="") makes a leader whose fence is the channels'."""
    from kombu.transport.redis import Channel

    for name in ("basic_publish", "conn_or_acquire"):
        monkeypatch.setattr(Channel, name, getattr(Channel, name))  # to be put back

    def make(prefix: str = "") -> Leader:
        leader = Leader(port, prefix)
        fence.install(leader.fence)
        return leader

    return make


def lengths(port: int, prefix: str = "") -> list[int]:
    with Redis(port=port) as redis:
        return [int(redis.llen(f"{prefix}{name}")) for name in ("one", "two")]


@pytest.mark.parametrize("prefix", ["", "app."])
def test_a_run_is_in_all_its_queues_and_written_down_and_sent_once(lead: Callable[..., Leader], port: int, prefix: str) -> None:
    leader = lead(prefix)
    assert leader.lock.ask(SIGN)
    for _ in range(2):  # the answer to the first was lost
        with leader.fence.run("nightly", RUN):
            leader.publish()
    assert lengths(port, prefix) == [1, 1]
    assert leader.fence.read() == {"nightly": RUN}


def test_what_an_app_sends_with_a_run_goes_too(lead: Callable[..., Leader], port: int) -> None:
    leader = lead()
    assert leader.lock.ask(SIGN)
    with leader.fence.run("nightly", RUN):
        leader.publish("t")
        leader.publish("another")
    assert lengths(port) == [2, 2]


def test_who_has_lost_the_lock_sends_nothing_and_writes_nothing_down(lead: Callable[..., Leader], port: int) -> None:
    leader = lead()
    assert leader.lock.ask(SIGN)
    leader.lock.leave()
    with leader.fence.run("nightly", RUN), pytest.raises(LostError):
        leader.publish()
    with pytest.raises(LostError):
        leader.fence.write({"nightly": RUN})
    assert lengths(port) == [0, 0] and leader.fence.read() == {}


def test_what_is_no_run_needs_no_lock(lead: Callable[..., Leader], port: int) -> None:
    lead().publish()
    assert lengths(port) == [1, 1]


def test_a_full_redis_takes_no_run_and_keeps_the_lock(lead: Callable[..., Leader], port: int) -> None:
    leader = lead()
    assert leader.lock.ask(SIGN)
    leader.publish()  # the queues are declared
    with Redis(port=port) as redis:
        redis.config_set("maxmemory", 1)
        with leader.fence.run("nightly", RUN), pytest.raises(Exception, match="maxmemory"):
            leader.publish()
        assert leader.lock.renew(SIGN)
        redis.config_set("maxmemory", 0)
    assert leader.fence.read() == {} and lengths(port) == [1, 1]


def test_the_lock_is_one_processs_until_it_ends(port: int) -> None:
    one, other = Leader(port).lock, Leader(port).lock
    assert one.ask(SIGN) and not other.ask(SIGN) and other.leading_node == "beat@a"
    assert one.renew(SIGN) and not other.renew(SIGN)
    other.leave()
    assert one.renew(SIGN)
    one.leave()
    assert other.ask(SIGN) and not one.renew(SIGN)


def test_a_process_is_dead_only_if_it_was_of_this_machine(port: int) -> None:
    token = Leader(port).lock.token
    node, boot, pid, _, secret = token.split("|")
    assert not is_dead(token)
    assert is_dead("|".join((node, boot, pid, "1", secret)))
    assert not is_dead("|".join((node, "another machine", pid, "1", secret)))
    assert not is_dead("nobody's")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://a:6379/0", True),
        ("rediss://a:6379/0", True),
        ("sentinel://a:26379;sentinel://b:26379", True),
        ("amqp://a", False),
        ("amqps://a", False),
        ("memory://", False),
    ],
)
def test_a_broker_that_is_no_redis_has_no_lock(url: str, expected: bool) -> None:
    assert is_redis(Celery(broker=url, set_as_current=False)) == expected
