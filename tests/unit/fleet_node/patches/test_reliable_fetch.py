"""The script that takes a message leaves in Redis what kombu would have written, whoever sent the message."""

import json
from collections.abc import Iterator

import pytest
from kombu.connection import Connection
from redis import Redis

from fleet_node.patches.reliable_fetch import TAKE
from tests.unit.shop_support import answering, free_port, process, redis_server

TAG = "b2f61cb0"
HELD = ("unacked", "unacked_index")
LISTS = ("default", "default\x06\x163")
AROUND = {"headers": {}, "properties": {"delivery_tag": TAG, "delivery_info": {"exchange": "", "routing_key": "default"}}}
LIKE_ITS_END = '", "properties": {"delivery_tag": "another", "delivery_info": {}}}'


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    with process(redis_server(port, folder), folder / "log"):
        answering(port)
        with Redis(port=port, decode_responses=True) as client:
            yield client


@pytest.fixture(autouse=True)
def _empty(redis: Redis) -> None:
    redis.flushall()


def take(redis: Redis) -> list[str] | None:
    answer: list[str] | None = redis.eval(TAKE, len(HELD + LISTS), *HELD, *LISTS, 1.5)
    return answer


@pytest.mark.parametrize(
    "message",
    [
        json.dumps({"body": "W10=", **AROUND}),
        json.dumps({"body": "W10=" * 500_000, **AROUND}),
        json.dumps({"body": "", **AROUND}),
        json.dumps({"body": "W10=", **AROUND}, separators=(",", ":")),
        json.dumps({**AROUND, "body": "W10="}),
        json.dumps({"body": f"not base64: {LIKE_ITS_END}", **AROUND}),
        json.dumps({"body": "ends with a backslash \\", **AROUND}),
        json.dumps({"body": 7, **AROUND}),
        json.dumps({"body": "W10=", **AROUND, "headers": {"argsrepr": f'("{LIKE_ITS_END}",)'}}),
    ],
    ids=["Celery's", "2 MB", "no body", "compact", "body last", "quotes", "backslash", "a number", "repr"],
)
def test_it_is_written_down_as_kombu_does(redis: Redis, message: str) -> None:
    redis.lpush("default", message, "the next one")
    assert take(redis) == ["default", message]
    assert redis.lrange("default", 0, -1) == ["the next one"]
    assert json.loads(redis.hget("unacked", TAG) or "") == [json.loads(message), "", "default"]
    assert redis.zrange("unacked_index", 0, -1, withscores=True) == [(TAG, 1.5)]


def test_kombu_gives_it_back(redis: Redis) -> None:
    url = f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"
    with Connection(url) as connection, connection.SimpleQueue("default", serializer="json") as queue:  # type: ignore[no-untyped-call]
        queue.put({"number": 1})
        assert take(redis)
        channel = connection.channel()
        tag = redis.zrange("unacked_index", 0, -1)[0]
        channel.qos.restore_by_tag(tag)
        assert queue.get(timeout=5).payload == {"number": 1}


@pytest.mark.parametrize("message", ["no JSON", "[]", '{"properties": 1}', '{"body": "W10=', json.dumps({"body": "W10="})])
def test_what_no_celery_sent_is_taken_all_the_same(redis: Redis, message: str) -> None:
    redis.lpush("default", message)
    assert take(redis) == ["default", message]
    assert (redis.llen("default"), redis.hlen("unacked")) == (0, 0)


def test_a_higher_priority_comes_first_and_nothing_is_nothing(redis: Redis) -> None:
    redis.rpush(LISTS[1], "low")
    redis.rpush(LISTS[0], "later", "first")
    assert [take(redis) for _ in range(4)] == [[LISTS[0], "first"], [LISTS[0], "later"], [LISTS[1], "low"], None]
