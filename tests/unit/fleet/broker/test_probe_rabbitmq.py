"""What a RabbitMQ refuses is found out by trying it, and told with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from amqp import Connection
from amqp.exceptions import AMQPError

from fleet.broker.probe_rabbitmq import QUORUM, RabbitServer, ask, judge, probe
from fleet.broker.verdict import ProbeError, RefusedError
from tests.unit.rabbitmq_support import Node, Vhost, running_node

pytestmark = pytest.mark.long
EXACT = r"^(default|fleet\..*|celery_delayed_.*|celeryev.*|.*celery\.pidbox{})$"
"""What docs/brokers.md says that the fleet's user needs."""
WELL = RabbitServer("RabbitMQ", "3.12.1")


@contextmanager
def user(vhost: Vhost, **permissions: str) -> Iterator[str]:
    """The URL of a user who may do all but this."""
    name = f"u-{vhost.name}"
    vhost.node.api("PUT", f"users/{name}", {"password": "p", "tags": ""})
    try:
        if permissions.get("all") != "none":
            may = {"configure": ".*", "write": ".*", "read": ".*", **permissions}
            vhost.node.api("PUT", f"permissions/{vhost.name}/{name}", may)
        yield vhost.url.replace("guest:guest", f"{name}:p")
    finally:
        vhost.node.api("DELETE", f"users/{name}")


def declare(vhost: Vhost, queue: str, **arguments: Any) -> None:
    with Connection(f"127.0.0.1:{vhost.node.port}", virtual_host=vhost.name) as connection:
        given = {name.replace("_", "-"): value for name, value in arguments.items()}
        connection.channel().queue_declare(queue, durable=True, auto_delete=False, arguments=given)


def test_a_user_with_just_the_permissions_of_the_docs(vhost: Vhost) -> None:
    permissions = {"configure": EXACT.format(""), "write": EXACT.format(r"|amq\.default"), "read": EXACT.format("")}
    with user(vhost, **permissions) as url:
        server = probe(url, ["default"])
    assert (server.product, server.version) == ("RabbitMQ", vhost.node.api("GET", "overview")["rabbitmq_version"])
    assert judge(server).errors == judge(server).losses == ()
    assert (vhost.queues(), vhost.exchanges()) == ({}, set()), "nothing is left behind"


@pytest.mark.parametrize("what", ["configure", "write", "read"])
def test_a_permission_that_is_missing(vhost: Vhost, what: str) -> None:
    with user(vhost, **{what: "^$"}) as url:
        verdict = judge(ask(url))
    assert any(error.startswith(f"{what} is refused (ACCESS_REFUSED") for error in verdict.errors)
    assert (vhost.queues(), vhost.exchanges()) == ({}, set()), "nothing is left behind"


def test_permissions_without_delayed_delivery(vhost: Vhost) -> None:
    without = r"^(fleet\..*|.*celery\.pidbox|amq\.default)$"
    with user(vhost, configure=without, write=without, read=without) as url:
        verdict = judge(ask(url))
    assert not verdict.errors
    (loss,) = verdict.losses
    assert loss.startswith("delayed delivery is refused")


def test_who_is_not_let_in(vhost: Vhost) -> None:
    with pytest.raises(RefusedError, match="refuses the user or the password"):
        probe(vhost.url.replace("guest:guest", "guest:wrong"))
    with pytest.raises(RefusedError, match=r"no such virtual host.*vhost nowhere not found"):
        probe(vhost.url.replace(vhost.name, "nowhere"))
    with user(vhost, all="none") as url, pytest.raises(RefusedError, match="the user may not use the virtual host"):
        probe(url)
    with pytest.raises(ProbeError, match=r"does not answer: .*refused"):
        probe("amqp://guest:guest@127.0.0.1:1/x")


def test_queues_that_are_no_quorum_queues(vhost: Vhost) -> None:
    declare(vhost, "classic")
    declare(vhost, "mirrored", x_queue_type="classic")
    vhost.policy("mirrors", "^mirrored$", ha_mode="all")
    declare(vhost, "urgent", x_max_priority=9)
    declare(vhost, "good", **QUORUM)
    declare(vhost, "own-limit", **QUORUM, x_delivery_limit=5)
    before = set(vhost.queues())
    errors = judge(ask("\n".join((vhost.url, *before, "none-yet")))).errors
    assert [error.partition(" and ")[0] for error in errors] == [
        "the queue classic is there as a classic queue, mirrored or not,",
        "the queue mirrored is there as a classic queue, mirrored or not,",
        "the queue urgent is there with priorities, which no quorum queue has: delete it when it is empty",
    ]
    assert set(vhost.queues()) == before


def test_versions() -> None:
    assert judge(WELL).errors == judge(WELL).losses == ()
    (error,) = judge(replace(WELL, version="3.9.27")).errors
    assert error.startswith("RabbitMQ 3.9.27 is too old: the fleet needs 3.10 or later")
    (loss,) = judge(replace(WELL, version="4.1.0")).losses
    assert "20 times" in loss
    assert judge(replace(WELL, version="4.1.0"), is_ours=True).losses == (), "its policy is the fleet's"
    (loss,) = judge(replace(WELL, product="LavinMQ", version="2.0")).losses
    assert loss.startswith("it calls itself LavinMQ")
    (error,) = judge(replace(WELL, counts=False)).errors
    assert error.startswith("it does not count how often")


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path) as node:
        yield node


@pytest.mark.slow
def test_an_alarm(own_node: Node) -> None:
    with own_node.vhost() as vhost:
        own_node.control("set_vm_memory_high_watermark", "absolute", "1MB")
        server = ask(vhost.url)
    (error,) = judge(server).errors
    assert error.startswith("it takes no tasks, from anybody, until it has room again: connection blocked")
    # A deploy that gives our own more memory is not refused for the lack of it.
    given_more = judge(server, is_ours=True, is_restarted=True)
    assert (given_more.errors, given_more.losses) == ((), (error,))


def test_what_a_worker_declares_is_what_is_asked(vhost: Vhost) -> None:
    """The probe would be wrong to refuse a queue that a worker can declare."""
    declare(vhost, "good", **QUORUM)
    assert ask(f"{vhost.url}\ngood").queues == {}
    declare(vhost, "classic")
    with pytest.raises(AMQPError, match="PRECONDITION_FAILED"):
        declare(vhost, "classic", **QUORUM)
