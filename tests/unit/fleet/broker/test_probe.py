"""What a broker of somebody else's forbids is found out by trying it, and told with what is lost."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from fleet.broker.probe import Server, ask, judge, probe
from fleet.broker.verdict import ProbeError, RefusedError
from tests.unit.shop_support import answering, free_port, process, redis_server


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("redis")
    port = free_port()
    with process(redis_server(port, folder, "--save", "", "--databases", "4"), folder / "redis.log"):
        answering(port)
        yield port


@pytest.fixture
def redis(port: int) -> Iterator[Redis]:
    with Redis(port=port, decode_responses=True) as client:
        client.config_set("notify-keyspace-events", "El")
        yield client
        assert client.keys("*") == [], "nothing is left behind"
        for name, value in {"notify-keyspace-events": "", "maxmemory-policy": "noeviction", "appendonly": "no"}.items():
            client.config_set(name, value)


def url_of(redis: Redis, *rules: str) -> str:
    """A URL of a user who may do everything but this."""
    password = secrets.token_hex(8)
    redis.execute_command("ACL", "SETUSER", "shop", "reset", "on", f">{password}", "~*", "&*", "+@all", *rules)  # type: ignore[no-untyped-call]
    port = redis.connection_pool.connection_kwargs["port"]
    return f"redis://shop:{password}@127.0.0.1:{port}/0"


def test_a_redis_that_allows_everything(redis: Redis) -> None:
    redis.config_set("appendonly", "yes")
    server = ask(url_of(redis))
    assert (server.forbidden, server.notifies) == ({}, True)
    assert judge(server).errors == judge(server).losses == ()


FORBIDDEN = {
    "-@scripting": ("error", "EVAL is refused"),
    "-@pubsub": ("error", "pub/sub is refused"),
    "resetchannels": ("error", "pub/sub is refused"),
    "-@write": ("error", "write is refused"),
    "-@blocking": ("error", "blocking is refused"),
    "-info": ("loss", "INFO is refused"),
    "-client|list": ("loss", "CLIENT LIST is refused"),
    "-scan": ("loss", "SCAN is refused"),
    "-time": ("error", "TIME is refused"),
    "-@transaction": ("error", "MULTI is refused"),
}


@pytest.mark.parametrize("rule", FORBIDDEN)
def test_what_a_user_may_not_do(redis: Redis, rule: str) -> None:
    level, text = FORBIDDEN[rule]
    verdict = judge(ask(url_of(redis, rule)))
    lines = verdict.errors if level == "error" else verdict.losses
    assert any(line.startswith(text) for line in lines), verdict
    assert bool(verdict.errors) == (level == "error")


@pytest.mark.long
def test_without_config_a_redis_is_judged_by_what_it_does(redis: Redis) -> None:
    """Managed servers forbid CONFIG, and most dangerous commands."""
    redis.config_set("notify-keyspace-events", "")
    redis.config_set("maxmemory-policy", "allkeys-lru")
    verdict = judge(ask(url_of(redis, "-@dangerous", "+info")))
    assert verdict.errors == ("maxmemory-policy is allkeys-lru: it throws tasks away when memory is full; set noeviction",)
    assert any("does not notify" in loss for loss in verdict.losses)
    assert any("neither an append-only file nor a replica" in loss for loss in verdict.losses)


INFOS: dict[str, dict[str, Any]] = {
    "Redis 5.0.14 is too old: the fleet needs 6.2 or later": {"redis_version": "5.0.14"},
    "it is a Redis Cluster, which is no broker for Celery: keys of one task lie on several nodes": {"cluster_enabled": 1},
    "it is a replica, which takes no tasks: give the URL of its primary, or sentinel://": {"role": "slave"},
    "it accepts 100 connections, and the fleet may open 120: fewer instances, or slots": {"maxclients": 100},
}


@pytest.mark.parametrize("error", INFOS)
def test_servers_of_no_use(error: str) -> None:
    assert judge(Server(INFOS[error]), connections=120).errors == (error,)


def test_a_replica_is_durable_without_a_file() -> None:
    assert judge(Server({"aof_enabled": 0, "connected_slaves": 1})).losses == ()


@pytest.mark.long
def test_why_a_broker_was_not_asked(redis: Redis) -> None:
    url = url_of(redis)
    wrong = url.replace("shop:", "shop:wrong")
    for asked, error, why in (
        (wrong, RefusedError, "it refuses the user or the password: invalid username-password pair"),
        (url.replace("/0", "/9"), RefusedError, "it refuses the fleet: DB index is out of range"),
        (f"redis://127.0.0.1:{free_port()}/0", ProbeError, "the broker does not answer: .*refused"),
        (url.replace("redis://", "rediss://"), ProbeError, "the broker does not answer: "),
    ):
        with pytest.raises(error, match=why) as caught:
            probe(asked)
        assert "\n" not in str(caught.value)
    assert probe(url).forbidden == {}
