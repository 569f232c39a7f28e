"""The broker persists every message, and refuses clients without a password."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
from celery import Celery

from fleet.spec import endpoint
from fleet.spec.broker import Redis
from fleet.spec.endpoint import Way
from fleet.spec.fleet import Fleet
from fleet.spec.sizes import resolve

Connect = Callable[..., redis.Redis]


@pytest.fixture
def client_of(own_redis: Redis, way: Way, fleet: Fleet, fleet_secrets: dict[str, str]) -> Connect:
    """client_of(user) → a client of the fleet's own Redis; client_of(user, password) with another password."""

    def client(user: str, password: str | None = None) -> redis.Redis:
        server = endpoint.broker(fleet, fleet_secrets, "worker" if user not in endpoint.USERS else user, way=way)
        if password is not None:
            server = replace(server, user=user, password=password)
        return redis.Redis.from_url(server.url, socket_timeout=20, decode_responses=True)

    return client


def test_nobody_without_a_password(client_of: Connect) -> None:
    with pytest.raises(redis.AuthenticationError), client_of("", "") as client:
        client.ping()


@pytest.mark.parametrize("user", ["admin", "worker", "monitor", "default"])
def test_nobody_with_a_wrong_password(client_of: Connect, user: str) -> None:
    with pytest.raises(redis.AuthenticationError), client_of(user, "wrong") as client:
        client.ping()


def test_redis_is_in_a_sandbox(connect: Any, own_redis: Redis, fleet: Fleet) -> None:
    output = connect(fleet.broker_host).check_output("systemd-analyze --no-pager security redis-server.service | tail -n 1")
    assert float(re.search(r"level for \S+: ([\d.]+)", output)[1]) <= 2.0  # type: ignore[index]


def test_settings(client_of: Connect, own_redis: Redis, connect: Any, fleet: Fleet) -> None:
    with client_of("monitor") as client:
        actual = client.config_get("*")
    total = int(connect(fleet.broker_host).check_output("awk '$1 == \"MemTotal:\" { print $2 }' /proc/meminfo")) * 1024
    expected = {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "maxmemory": str(resolve(own_redis.maxmemory, total)),
        "maxclients": str(own_redis.maxclients),
        "bind": f"{fleet.broker_address} 127.0.0.1",
        "port": str(own_redis.port if own_redis.port in own_redis.ports else 0),
        "tls-port": str(own_redis.tls_port if own_redis.tls else 0),
    }
    assert {name: actual[name] for name in expected} == expected


def test_listens_on_the_lan_and_loopback_only(connect: Any, own_redis: Redis, fleet: Fleet) -> None:
    listening = connect(fleet.broker_host).check_output("ss -Hltnp").splitlines()
    addresses = {line.split()[3] for line in listening if "redis-server" in line}
    assert addresses == {f"{address}:{port}" for address in (fleet.broker_address, "127.0.0.1") for port in own_redis.ports}


def test_the_monitor_reads_and_changes_nothing(client_of: Connect) -> None:
    with client_of("monitor") as client:
        assert client.llen("default") >= 0
        assert client.info()["redis_version"]
        for forbidden in (("SET", "fleet:check", "1"), ("LPUSH", "default", "x"), ("CONFIG", "SET", "maxclients", "1")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*forbidden)


def test_a_worker_administers_nothing(client_of: Connect) -> None:
    with client_of("worker") as client:
        assert client.ping()
        for forbidden in (("CONFIG", "GET", "*"), ("FLUSHALL",), ("ACL", "LIST"), ("SHUTDOWN",), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*forbidden)


def test_service_is_limited_and_comes_back(connect: Any, own_redis: Redis, fleet: Fleet) -> None:
    host = connect(fleet.broker_host)
    shown = host.check_output("systemctl show redis-server --property=MemoryMax,LimitNOFILE,Restart,ActiveState")
    properties = dict(line.split("=", 1) for line in shown.splitlines())
    assert properties["ActiveState"] == "active"
    assert properties["Restart"] == "always"
    assert int(properties["MemoryMax"]) > 0
    assert int(properties["LimitNOFILE"]) > own_redis.maxclients


def test_one_task_a_queue_comes_back(celery_app: Celery, fleet: Fleet) -> None:
    if fleet.settings.result_backend == "none":
        pytest.skip("no result of this fleet is kept")
    queues = {queue for host in fleet.hosts.values() for worker in host.workers.values() for queue in worker.queues}
    sent = {
        # This client would declare the queue otherwise than the app does.
        queue: celery_app.send_task("fleet.probe", args=[f"check of {queue}"], queue=queue, declare=[])
        for queue in queues
    }
    try:
        answers = {queue: result.get(timeout=60)["token"] for queue, result in sent.items()}
    finally:
        for result in sent.values():
            result.forget()
    assert answers == {queue: f"check of {queue}" for queue in queues}
