"""A drill of a fleet on RabbitMQ: a real server and a real worker; and which drills are refused, with the reason."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.broker.port import opened
from fleet.drill.broker import ledger_of, refuse, refuse_beat
from fleet.drill.errors import DrillError
from fleet.drill.faults import FAULTS
from fleet.drill.ledger import account
from fleet.drill.load import Kind, Producer
from fleet.drill.outcome import recovery_limit
from fleet.drill.recovery import seconds_until_all_started
from fleet.drill.scenarios import SCENARIOS, unfit
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from fleet_node.protocol import DRILL_ANNOUNCED
from tests.unit.fleet_node.broker.rabbitmq_machine import QUEUES, rabbit_machine
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.fleet_support import make_app
from tests.unit.process_support import Machine
from tests.unit.rabbitmq_cluster import running_cluster
from tests.unit.rabbitmq_support import Vhost, rabbitmq, vhost

__all__ = ["rabbitmq", "vhost"]
KINDS = (Kind("io", 0.01, ("default",), every=0.1), Kind("eta", 0.01, ("default",), every=1, eta=2))


@pytest.fixture
def here(tmp_path: Path, vhost: Vhost) -> Iterator[Machine]:
    with rabbit_machine(tmp_path, vhost, "threads") as here:
        here.start(here.release("r"))
        yield here


def is_announced(here: Machine, drill: str) -> bool:
    with here.redis(1) as redis:
        return bool(redis.sismember(DRILL_ANNOUNCED, drill))


@pytest.mark.long
def test_each_task_is_accounted_for(here: Machine, vhost: Vhost) -> None:
    ledger = f"redis://127.0.0.1:{here.port}/1"
    with Producer(vhost.url, KINDS, ledger=ledger) as sending:
        assert is_announced(here, sending.run)
        assert until(lambda: len(sending.entries()) >= 10), here.output()
        assert until(lambda: any(task.kind == "eta" for task in sending.sent))
        sending.stop()
        sending.wait_until_finished(20)
        done = account(sending.sent, sending.entries())
        assert (done.lost, done.run_twice, done.finished) == ((), (), len(sending.sent)), here.output()
    assert not is_announced(here, sending.run)


@pytest.mark.long
def test_a_task_that_no_worker_has_is_parked_and_dropped(here: Machine, vhost: Vhost) -> None:
    with Producer(vhost.url, (), ledger=f"redis://127.0.0.1:{here.port}/1") as sending, opened(vhost.url) as port:
        sending.send_unknown("no.such.task", "default")
        assert until(port.letters), here.output()
        (letter,) = port.letters()
        assert (letter["task"], letter["queue"], letter["unknown"]) == ("no.such.task", "default", True)
        assert port.drop([letter]) == 1
        assert port.letters() == []


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """One whose broker is somebody else's RabbitMQ."""
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    data = {
        "celery_app": "shop.app",
        "app_source": "app",
        "broker": {"url": "amqp://10.0.0.9/shop"},
        "result_backend": "@RESULT_URL",
    }
    web = {**data, "web_worker": {"queues": ["default"]}}
    return load_fleet(Inventory({"web1": web}, {"web": ("web1",)}, frozenset({"web"})))


def test_drills_that_mean_nothing_for_it(fleet: Fleet) -> None:
    assert fleet.transport == "amqp"
    for name in ("broker-restart", "broker-kill"):
        with pytest.raises(DrillError, match=f"{name}: the broker is not this fleet's"):
            refuse(FAULTS[name], fleet)
    refuse(FAULTS["partition"], fleet)
    with pytest.raises(DrillError, match="with RabbitMQ one host runs beat"):
        refuse_beat(fleet)
    skipped = {name for name, scenario in SCENARIOS.items() if unfit(scenario, fleet)}
    assert skipped == {"broker-restart", "broker-away", "queue-old"}


def test_the_redis_of_the_ledger(fleet: Fleet) -> None:
    endpoint = ledger_of(fleet, {"RESULT_URL": "redis://:secret@10.0.0.8:6380/2"})
    assert endpoint and (endpoint.address, endpoint.port, endpoint.path) == ("10.0.0.8", 6380, "2")
    for url, why in (("db+postgresql://x/y", "no redis:// or rediss:// URL"), ("amqp://10.0.0.9/", "is a amqp:// URL")):
        with pytest.raises(DrillError, match=why):
            ledger_of(fleet, {"RESULT_URL": url})


def test_when_workers_have_to_be_back() -> None:
    assert recovery_limit(FAULTS["kill-worker"], None, None, 45) == 45
    assert recovery_limit(FAULTS["reboot"], None, None, 45) == 60
    assert recovery_limit(FAULTS["broker-kill"], None, None, 45) == 15


@pytest.mark.slow
def test_a_node_of_three_is_killed_under_load(tmp_path: Path) -> None:
    """What `fleet drill broker-kill` does: the worker was connected to that node, and no task is lost."""
    with running_cluster(tmp_path / "nodes") as nodes, nodes[0].vhost() as own:
        addresses = [f"amqp://guest:guest@127.0.0.1:{node.port}/{own.name}" for node in (nodes[2], nodes[1], nodes[0])]
        with rabbit_machine(tmp_path, own, "threads") as here:
            here.broker = ";".join(addresses)
            here.start(here.release("r", QUEUES))
            with Producer(own.url, KINDS, outages=True, ledger=f"redis://127.0.0.1:{here.port}/1") as sending:
                assert until(lambda: len(sending.entries()) >= 10), here.output()
                began = sending.now()
                nodes[2].stop(signal.SIGKILL)
                node = "web-worker-1@test"
                assert until(lambda: seconds_until_all_started(sending.entries(), [node], began + 1) is not None, 60)
                sending.send_for(5)
                sending.stop()
                sending.wait_until_finished(60)
                done = account(sending.sent, sending.entries())
                assert (done.lost, done.finished) == ((), len(sending.sent)), here.output()
