"""The Redis of a cluster: its manifest's own configuration, with a real server."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError, ResponseError

from fleet.kubernetes import redis as of_cluster
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER
from tests.unit.fleet.kubernetes.kubernetes_support import HIDDEN, cluster_of
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.shop_support import free_port, process


def test_it_keeps_tasks_and_lets_in_who_it_should(tmp_path: Path) -> None:
    port = free_port()
    cluster = cluster_of(broker={"port": port})
    config, stateful, *_ = of_cluster.objects(cluster)
    for name, content in {
        **config["data"],
        **{key: text.decode() for key, text in of_cluster.secret_values(cluster).items()},
    }.items():
        (tmp_path / name).write_text(content.replace("/etc/redis", str(tmp_path)).replace("/data", str(tmp_path)))
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    command = [word.replace("/etc/redis", str(tmp_path)) for word in container["command"]]
    worker = Redis(port=port, username="worker", password=HIDDEN[BROKER_WORKER])
    with process(command, tmp_path / "log"):
        assert until(lambda: answers(worker), 20)
        with Redis(port=port) as nobody, pytest.raises(AuthenticationError):
            nobody.ping()
        for number in range(100):
            worker.lpush("default", number)
        with Redis(port=port, username="monitor", password=HIDDEN[BROKER_MONITOR]) as monitor:
            assert monitor.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            with pytest.raises(ResponseError):
                monitor.lpush("default", "x")
    with process(command, tmp_path / "log"):
        assert until(lambda: answers(worker), 20)
        assert worker.llen("default") == 100, "another pod on the same volume"
    worker.close()


def answers(client: Redis) -> bool:
    with suppress(ConnectionError):
        return bool(client.ping())
    return False


def test_the_volume_has_room_for_a_file_that_is_rewritten() -> None:
    _, stateful, *_ = of_cluster.objects(cluster_of(broker={"maxmemory": "1G"}))
    (claim,) = stateful["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "3072Mi"
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
