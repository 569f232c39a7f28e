"""What the role defines, in a real RabbitMQ: who may do what, and where a task goes that nobody can take."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from amqp import Connection, Message
from amqp.exceptions import AccessRefused, AMQPError
from celery import Celery

from fleet.broker.passwords import not_yet_accepted
from fleet.plan.facts import MachineFacts
from fleet.plan.plan import resolved
from fleet.rollout.preflight import ask_server, judge_server
from fleet.spec import endpoint
from fleet.spec.endpoint import Way
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from fleet_node.protocol import DEAD_LETTERS, DEAD_LETTERS_ARGUMENTS
from roles import rabbitmq
from tests.unit.fleet.conftest import app_folder
from tests.unit.fleet.spec.spec_support import ALL, inventory_of
from tests.unit.rabbitmq_support import Node, running_node

__all__ = ["app_folder"]
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("app_folder")]

WORKER, BEFORE = "BROKER_WORKER_PASSWORD", "BROKER_WORKER_PASSWORD_BEFORE"
SECRETS = {WORKER: "w/x", "BROKER_MONITOR_PASSWORD": "m"}
QUORUM = {"x-queue-type": "quorum"}
PATIENCE = 30


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("rabbitmq")) as node:
        yield node


def a_fleet() -> Fleet:
    inventory = inventory_of(everywhere={**ALL, "result_backend": "none"})
    hosts = {**inventory.hosts, "broker1": {**inventory.hosts["broker1"], "broker": {"kind": "rabbitmq"}}}
    return load_fleet(Inventory(hosts, inventory.groups, inventory.group_data))


def define(node: Node, secrets: dict[str, str]) -> Fleet:
    """Import what a deploy would, and return the fleet."""
    fleet = a_fleet()
    plan = resolved(fleet, dict.fromkeys(fleet.hosts, MachineFacts(4, 4 << 30)))
    node.api("POST", "definitions", rabbitmq.definitions(plan, secrets))
    return fleet


@contextmanager
def connected(fleet: Fleet, node: Node, secrets: dict[str, str], user: str = "worker") -> Iterator[Any]:
    """A channel of a user's."""
    server = endpoint.broker(fleet, secrets, user, way=Way(node.port))
    where = f"{server.address}:{server.port}"
    connection = Connection(where, server.user, server.password, virtual_host=server.path, confirm_publish=True)
    connection.connect()
    with closing(connection):
        yield connection.channel()


def test_a_worker_may_do_all_that_it_does(node: Node) -> None:
    fleet = define(node, SECRETS)
    plan = resolved(fleet, dict.fromkeys(fleet.hosts, MachineFacts(4, 4 << 30)))
    server = ask_server(endpoint.broker(fleet, SECRETS, way=Way(node.port)).url, plan)
    assert judge_server(server, plan).error is None
    assert judge_server(server, plan).notes == ()
    with connected(fleet, node, SECRETS) as channel:
        dead = channel.queue_declare(DEAD_LETTERS, durable=True, auto_delete=False, arguments=DEAD_LETTERS_ARGUMENTS)
        assert dead.message_count == 0, "as workers declare it"


def test_the_monitor_reads_no_task_and_asks_workers(node: Node) -> None:
    fleet = define(node, SECRETS)
    with connected(fleet, node, SECRETS) as channel:
        channel.queue_declare("default", durable=True, auto_delete=False, arguments=QUORUM)
    with connected(fleet, node, SECRETS, "monitor") as channel:
        assert channel.queue_declare("default", passive=True).message_count == 0
        with pytest.raises(AccessRefused):
            channel.basic_get("default")
    with connected(fleet, node, SECRETS, "monitor") as channel, pytest.raises(AMQPError, match="ACCESS_REFUSED"):
        channel.basic_publish(Message(b""), routing_key="default")
    url = endpoint.broker(fleet, SECRETS, "monitor", way=Way(node.port)).url
    with Celery(broker=url, set_as_current=False) as app:
        assert app.control.inspect(timeout=0.5).ping() is None, "there is nobody, and nothing is refused"


def test_both_passwords_while_one_changes(node: Node) -> None:
    changing = {**SECRETS, WORKER: "new", BEFORE: SECRETS[WORKER]}
    fleet = define(node, SECRETS)
    assert not_yet_accepted(fleet, changing, Way(node.port)) == {WORKER: SECRETS[WORKER]}
    assert not_yet_accepted(fleet, SECRETS, Way(node.port)) == {}
    with connected(fleet, node, SECRETS) as open_all_the_time:
        define(node, changing)
        assert not_yet_accepted(fleet, changing, Way(node.port)) == {}
        for secrets in (SECRETS, changing):
            with connected(fleet, node, secrets) as channel:
                assert channel.is_open
        assert open_all_the_time.queue_declare(DEAD_LETTERS, passive=True), "nobody was disconnected"


def test_a_task_that_kills_whoever_receives_it_is_a_dead_letter(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq, "BACKSTOP", {**rabbitmq.BACKSTOP, "delivery-limit": 2})
    fleet = define(node, SECRETS)
    with connected(fleet, node, SECRETS) as channel:
        channel.queue_declare("default", durable=True, auto_delete=False, arguments=QUORUM)
        channel.basic_publish(Message(b"deadly", delivery_mode=2), routing_key="default", confirm_timeout=PATIENCE)
        for _ in range(3):
            channel.basic_reject(channel.basic_get("default").delivery_tag, requeue=True)
        assert channel.basic_get("default") is None
        received: list[bytes] = []
        channel.basic_consume(DEAD_LETTERS, callback=lambda message: received.append(message.body), no_ack=True)
        while not received:
            channel.connection.drain_events(timeout=PATIENCE)
    assert received in ([b"deadly"], ["deadly"])


def test_the_policy_of_a_name_that_is_a_pattern(node: Node) -> None:
    fleet = a_fleet()
    plan = resolved(fleet, dict.fromkeys(fleet.hosts, MachineFacts(4, 4 << 30)))
    odd = replace(plan)
    odd.__dict__["consumers"] = {"a.b": 1, "c+d": 1}
    node.api("POST", "definitions", rabbitmq.definitions(odd, SECRETS))
    names = ("a.b", "axb", "c+d", "ccd")
    with connected(fleet, node, SECRETS) as channel:
        for name in names:
            channel.queue_declare(name, durable=True, auto_delete=False, arguments=QUORUM)
    lines = node.control("list_queues", "-p", "fleet", "--no-table-headers", "name", "policy").splitlines()
    policies = dict(line.split("\t") for line in lines)
    assert [policies[name] for name in names] == ["fleet", "", "fleet", ""]
