"""The fleet's own RabbitMQ: where it listens, what it is limited to, and whether its nodes are together."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from fleet.spec.broker import RabbitMQ
from fleet.spec.fleet import Fleet
from fleet.spec.rabbitmq import MANAGEMENT_PORT, UNIT, VHOST, node
from fleet.spec.secrets import COOKIE
from fleet_node.protocol import DEAD_LETTERS
from roles import rabbitmq as role


@pytest.fixture(scope="session")
def rabbitmq(fleet: Fleet) -> RabbitMQ:
    """The settings of the fleet's own RabbitMQ."""
    if fleet.rabbitmq is None:
        pytest.skip("the fleet has no RabbitMQ of its own")
    return fleet.rabbitmq


def test_listens_on_the_lan_and_loopback_only(connect: Any, rabbitmq: RabbitMQ, fleet: Fleet) -> None:
    for name in fleet.broker_hosts:
        address = fleet.address_of(name)
        lines = connect(name).check_output("ss -Hltnp").splitlines()
        listening = {line.split()[3] for line in lines if "beam.smp" in line or ":4369 " in line}
        both = {f"{where}:{port}" for where in (address, "127.0.0.1") for port in (*rabbitmq.ports, 4369)}
        assert listening == both | {f"{address}:25672", f"127.0.0.1:{MANAGEMENT_PORT}"}


def test_service_is_limited_and_comes_back(connect: Any, rabbitmq: RabbitMQ, fleet: Fleet) -> None:
    for name in fleet.broker_hosts:
        shown = connect(name).check_output(f"systemctl show {UNIT} --property=MemoryMax,LimitNOFILE,Restart,ActiveState")
        properties = dict(line.split("=", 1) for line in shown.splitlines())
        assert (properties["ActiveState"], properties["Restart"]) == ("active", "always")
        assert int(properties["MemoryMax"]) > 0
        assert int(properties["LimitNOFILE"]) == role.OPEN_FILES


def test_rabbitmq_is_in_a_sandbox(connect: Any, rabbitmq: RabbitMQ, fleet: Fleet) -> None:
    output = connect(fleet.broker_host).check_output(f"systemd-analyze --no-pager security {UNIT} | tail -n 1")
    exposure = next(float(word) for word in output.split() if word.replace(".", "", 1).isdigit())
    assert exposure < 4


def test_all_nodes_are_together(connect: Any, rabbitmq: RabbitMQ, fleet: Fleet) -> None:
    nodes = sorted(node(fleet.address_of(name)) for name in fleet.broker_hosts)
    for name in fleet.broker_hosts:
        status = json.loads(connect(name).check_output("rabbitmqctl -q --formatter json cluster_status"))
        assert sorted(status["running_nodes"]) == sorted(status["disk_nodes"]) == nodes
        assert (status["alarms"], status["partitions"]) == ([], {})


def test_every_queue_is_on_all_nodes(connect: Any, rabbitmq: RabbitMQ, fleet: Fleet) -> None:
    output = connect(fleet.broker_host).check_output(f"rabbitmqctl -q list_queues -p {VHOST} --formatter json name type members")
    queues = {queue["name"]: queue for queue in json.loads(output)}
    assert DEAD_LETTERS in queues
    for queue in queues.values():
        if queue["type"] in ("quorum", "rabbit_quorum_queue"):
            assert len(queue["members"]) == len(fleet.broker_hosts), queue


def test_users_are_those_of_the_secrets_file(
    connect: Any, rabbitmq: RabbitMQ, fleet: Fleet, fleet_secrets: Mapping[str, str]
) -> None:
    lines = connect(fleet.broker_host).check_output("rabbitmqctl -q list_users --no-table-headers").splitlines()
    users = {line.split()[0] for line in lines}
    assert users == {user.name for accepted in role.accounts(fleet_secrets).values() for user in accepted}


def test_no_secret_is_readable(connect: Any, rabbitmq: RabbitMQ, fleet: Fleet, fleet_secrets: Mapping[str, str]) -> None:
    for name in fleet.broker_hosts:
        shown = connect(name).check_output(f"stat -c '%a %U' {role.COOKIE_FILE} {role.DEFINITIONS}").splitlines()
        assert shown == ["400 rabbitmq", "640 root"]
        assert fleet_secrets[COOKIE] not in connect(name).check_output("ps -eo args")
