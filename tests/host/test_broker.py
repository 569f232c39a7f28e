"""The broker persists every message, and refuses clients without a password."""

import re
from typing import Any

import pytest
import redis
from celery import Celery

from fleet.spec.fleet import Fleet
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER
from fleet.spec.sizes import resolve


def _client(port: int, username: str | None = None, password: str | None = None) -> redis.Redis:
    return redis.Redis(port=port, username=username, password=password, socket_timeout=20, decode_responses=True)


def test_nobody_without_a_password(broker_port: int) -> None:
    with pytest.raises(redis.AuthenticationError), _client(broker_port) as client:
        client.ping()


@pytest.mark.parametrize("user", ["worker", "monitor", "default"])
def test_nobody_with_a_wrong_password(broker_port: int, user: str) -> None:
    with pytest.raises(redis.AuthenticationError), _client(broker_port, username=user, password="wrong") as client:
        client.ping()


def test_redis_is_in_a_sandbox(connect: Any, fleet: Fleet) -> None:
    output = connect(fleet.broker_host).check_output("systemd-analyze --no-pager security redis-server.service | tail -n 1")
    assert float(re.search(r"level for \S+: ([\d.]+)", output)[1]) <= 2.0  # type: ignore[index]


def test_settings(broker_port: int, connect: Any, fleet: Fleet, fleet_secrets: dict[str, str]) -> None:
    with _client(broker_port, username="monitor", password=fleet_secrets[BROKER_MONITOR]) as client:
        actual = client.config_get("*")
    total = int(connect(fleet.broker_host).check_output("awk '$1 == \"MemTotal:\" { print $2 }' /proc/meminfo")) * 1024
    expected = {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "maxmemory": str(resolve(fleet.broker.maxmemory, total)),
        "maxclients": str(fleet.broker.maxclients),
        "bind": f"{fleet.broker_address} 127.0.0.1",
        "port": str(fleet.broker.port),
    }
    assert {name: actual[name] for name in expected} == expected


def test_listens_on_the_lan_and_loopback_only(connect: Any, fleet: Fleet) -> None:
    listening = connect(fleet.broker_host).check_output("ss -Hltn 'sport = :%s'", str(fleet.broker.port))
    addresses = {line.split()[3].rsplit(":", 1)[0] for line in listening.splitlines()}
    assert addresses == {fleet.broker_address, "127.0.0.1"}


def test_the_monitor_reads_and_changes_nothing(broker_port: int, fleet_secrets: dict[str, str]) -> None:
    with _client(broker_port, username="monitor", password=fleet_secrets[BROKER_MONITOR]) as client:
        assert client.llen("default") >= 0
        assert client.info()["redis_version"]
        for forbidden in (("SET", "fleet:check", "1"), ("LPUSH", "default", "x"), ("CONFIG", "SET", "maxclients", "1")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*forbidden)


def test_a_worker_administers_nothing(broker_port: int, fleet_secrets: dict[str, str]) -> None:
    with _client(broker_port, username="worker", password=fleet_secrets[BROKER_WORKER]) as client:
        assert client.ping()
        for forbidden in (("CONFIG", "GET", "*"), ("FLUSHALL",), ("ACL", "LIST"), ("SHUTDOWN",), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*forbidden)


def test_service_is_limited_and_comes_back(connect: Any, fleet: Fleet) -> None:
    host = connect(fleet.broker_host)
    shown = host.check_output("systemctl show redis-server --property=MemoryMax,LimitNOFILE,Restart,ActiveState")
    properties = dict(line.split("=", 1) for line in shown.splitlines())
    assert properties["ActiveState"] == "active"
    assert properties["Restart"] == "always"
    assert int(properties["MemoryMax"]) > 0
    assert int(properties["LimitNOFILE"]) > fleet.broker.maxclients


def test_one_task_a_queue_comes_back(celery_app: Celery, fleet: Fleet) -> None:
    queues = {queue for host in fleet.hosts.values() for worker in host.workers.values() for queue in worker.queues}
    sent = {queue: celery_app.send_task("fleet.probe", args=[f"check of {queue}"], queue=queue) for queue in queues}
    try:
        answers = {queue: result.get(timeout=60)["token"] for queue, result in sent.items()}
    finally:
        for result in sent.values():
            result.forget()
    assert answers == {queue: f"check of {queue}" for queue in queues}
