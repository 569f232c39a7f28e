"""What is known of the fleet's own RabbitMQ of three nodes, through SSH: by AMQP, and by its management API on loopback."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from amqp import Message

from fleet.broker import connect
from fleet.broker.port import Port
from fleet.broker.rabbitmq import connected
from fleet.inventory.read import read_inventory
from fleet.observe.sampling import doubts
from fleet.spec import secrets
from fleet.spec.load import load_fleet
from fleet.spec.rabbitmq import VHOST, account
from fleet.spec.secrets import COOKIE
from roles.rabbitmq import PERMISSIONS
from tests.unit.fleet.cli.native_support import PASSWORDS, Project, project
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.rabbitmq_cluster import running_cluster
from tests.unit.rabbitmq_support import Node, running_node

pytestmark = pytest.mark.slow
QUORUM = {"x-queue-type": "quorum"}


@contextmanager
def of_fleet(folder: Path, node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A fleet whose own RabbitMQ this node is."""
    node.api("PUT", f"vhosts/{VHOST}", {})
    for role, permissions in PERMISSIONS.items():
        own = account(role, PASSWORDS[role.upper()])
        node.api("PUT", f"users/{own.name}", {"password": own.password, "tags": "monitoring" if role == "monitor" else ""})
        node.api("PUT", f"permissions/{VHOST}/{own.name}", dict(permissions))
    broker = f'broker = {{"kind": "rabbitmq", "port": {node.port}}}\n'
    (folder / "here").mkdir()
    everywhere = 'celery_app, app_source, secrets_file, result_backend = "shop.app", "app", "s.env", "none"\n'
    with project(folder, group_data={"broker": broker, "all": everywhere}) as made:
        with (made.folder / "s.env").open("a") as file:
            file.write(f"{COOKIE}=x\n")
        monkeypatch.chdir(made.folder)
        monkeypatch.setattr(connect, "MANAGEMENT_PORT", node.management)
        yield made


@contextmanager
def session(made: Project) -> Iterator[Port]:
    inventory = read_inventory(Path("prod.py"))
    fleet = load_fleet(inventory)
    with connect.session(inventory.hosts, fleet, secrets.read(Path(fleet.settings.secrets_file))) as port:
        yield port


def declare(node: Node, *queues: str, messages: int = 0) -> None:
    with connected(f"amqp://guest:guest@127.0.0.1:{node.port}/{VHOST}", 20) as connection:
        channel = connection.channel()
        for queue in queues:
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments=QUORUM)
            for _ in range(messages):
                channel.basic_publish(Message("x"), routing_key=queue)


def test_one_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_node(tmp_path / "node") as node, of_fleet(tmp_path, node, monkeypatch) as made:
        node.api("PUT", f"permissions/{VHOST}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        declare(node, "default")
        declare(node, "forgotten", "fleet.deliveries.x", messages=2)
        with session(made) as port:
            assert set(port.unknown) == {"oldest_s", "orphaned"}
            assert {name: age.waiting for name, age in port.unconsumed({"default"}).items()} == {"forgotten": {0: 2}}
            assert port.health().problem == ""
            view = port.view(["default"])
            assert (view.waiting, view.whole) == ({"forgotten": 2}, True)
            node.control("set_vm_memory_high_watermark", "absolute", "1MB")
            assert until(lambda: "is at its memory limit" in port.health().problem)
            node.control("set_vm_memory_high_watermark", "absolute", "1GB")
            assert until(lambda: port.health().problem == "")


@pytest.mark.slow
def test_a_node_that_is_lost_and_a_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_cluster(tmp_path / "nodes") as nodes, of_fleet(tmp_path, nodes[0], monkeypatch) as made:
        nodes[0].api("PUT", f"permissions/{VHOST}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        declare(nodes[1], "default")  # which leads it
        declare(nodes[0], "default", messages=3)
        with session(made) as port:
            assert until(lambda: port.health().problem == ""), port.health().problem
            nodes[2].stop(signal.SIGKILL)
            lost = f"RabbitMQ's test{nodes[2].port}@localhost is down: 2 of 3 nodes run"
            assert until(lambda: port.health().problem == lost), port.health().problem
            assert port.length("default") == 3
            nodes[1].stop(signal.SIGKILL)
            words = "queue default has lost its majority (1 of 3 nodes are there)"
            assert until(lambda: words in port.health().problem, 60), port.health().problem
            now = port.moment(None, ["default"])
            assert (now.consumers, sum(now.ages["default"].waiting.values())) == ({"default": 0}, 0), "so RabbitMQ says"
            sign: Any = {"queues": ["default"], "draining": False}
            assert "RabbitMQ counts no consumer of default, and workers consume it" in doubts(now.consumers, {"w": sign})
