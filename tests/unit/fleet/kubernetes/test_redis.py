"""The Redis of a cluster: its manifest's own configuration, with a real server."""

from __future__ import annotations

import base64
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError, ResponseError

from fleet.kubernetes import bundle
from fleet.kubernetes import redis as of_cluster
from fleet.spec import certificates
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


def test_who_connects_with_tls_knows_it_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain, port = free_port(), free_port()
    cluster = cluster_of(broker={"port": plain, "tls_port": port, "tls": True})
    tls = certificates.folder_of(cluster.plan.fleet)
    certificates.make(tls, ["10.0.0.10"])
    certificates.make(tls, of_cluster.names("shop"), server=certificates.server_in_cluster("shop"))
    secret = next(each for each in bundle.secrets(cluster) if each["metadata"]["name"] == "fleet-redis")
    config, stateful, *_ = of_cluster.objects(cluster)
    spec = stateful["spec"]["template"]["spec"]
    (source,) = (each["secret"] for each in spec["volumes"][0]["projected"]["sources"] if "secret" in each)
    folder = tmp_path / "redis"
    (folder / "tls").mkdir(parents=True)
    text = config["data"]["redis.conf"].replace("/etc/redis", str(folder)).replace("/data", str(folder))
    (folder / "redis.conf").write_text(text)
    for item in source["items"]:
        (folder / item["path"]).write_bytes(base64.b64decode(secret["data"][item["key"]]))
    context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
    with process(["redis-server", str(folder / "redis.conf")], tmp_path / "log"):
        files: Any = {"ssl": True, "ssl_ca_certs": str(tls / "ca.pem"), "ssl_check_hostname": False}
        with Redis(port=port, username="worker", password=HIDDEN[BROKER_WORKER], **files) as worker:
            assert until(lambda: answers(worker), 20)
            for name in of_cluster.names("shop"):
                with socket.create_connection(("127.0.0.1", port)) as plainly, context.wrap_socket(plainly, server_hostname=name):
                    pass
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", plain))


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
