"""What is wrong with a cluster, as its management API says."""

from typing import Any

from fleet.broker.management import of_nodes, of_queues, strangers

WELL = {"name": "rabbit@b1", "running": True, "mem_alarm": False, "disk_free_alarm": False, "partitions": []}
FULL = WELL | {"mem_alarm": True, "mem_used": 900 << 20, "mem_limit": 800 << 20}


def test_a_cluster_that_is_well() -> None:
    assert of_nodes([WELL, WELL | {"name": "rabbit@b2"}]) == []


def test_what_is_wrong_with_nodes() -> None:
    assert of_nodes([WELL, {"name": "rabbit@b2", "running": False}, WELL | {"name": "rabbit@b3"}]) == [
        "RabbitMQ's rabbit@b2 is down: 2 of 3 nodes run"
    ]
    assert of_nodes([FULL]) == [
        "rabbit@b1 is at its memory limit (900 of 800 MB): RabbitMQ takes no new tasks; work its queues off, or give its machine "
        "more"
    ]
    disk = WELL | {"disk_free_alarm": True, "disk_free": 40 << 20, "disk_free_limit": 50 << 20}
    assert of_nodes([disk]) == ["rabbit@b1 has 40 MB of disk left, and needs 50: RabbitMQ takes no new tasks; make room there"]
    assert of_nodes([WELL | {"partitions": ["rabbit@b2"]}]) == ["rabbit@b1 does not see rabbit@b2: the cluster is split"]


def test_nodes_that_began_a_cluster_of_their_own() -> None:
    two = [WELL, WELL | {"name": "rabbit@b3"}]
    assert of_nodes(two, 3) == [
        "2 of 3 nodes of RabbitMQ are one cluster (rabbit@b1, rabbit@b3): what the others have, these do not see"
    ]
    hosts = {"rabbit@b1": "broker1", "rabbit@b2": "broker2", "rabbit@b3": "broker3"}
    assert strangers(two, hosts) == ["broker2"]
    assert strangers([*two, {"name": "rabbit@b2", "running": False}], hosts) == []


def test_queues_without_a_majority() -> None:
    three = ["rabbit@b1", "rabbit@b2", "rabbit@b3"]
    queues: list[dict[str, Any]] = [
        {"name": "a", "type": "quorum", "members": three, "online": three[:2]},
        {"name": "b", "type": "quorum", "members": three, "online": three[:1]},
        {"name": "c", "type": "classic"},
    ]
    assert of_queues(queues) == ["queue b has lost its majority (1 of 3 nodes are there): nothing comes into it or out of it"]
