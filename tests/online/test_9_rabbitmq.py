"""A RabbitMQ of the fleet's own on three machines: brought up, restarted node after node, and looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.online.conftest import OWN_LAB, Lab, inventory_with

pytestmark = [pytest.mark.lab, pytest.mark.slow]

BROKERS = ("broker1", "broker2", "broker3")
UNIT = "rabbitmq-server.service"


@pytest.fixture(scope="module")
def folder(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An inventory of a lab with three brokers, and group data that make them a RabbitMQ's."""
    if not OWN_LAB:
        lab.run("fleet", "lab", "down")
        done = lab.run("fleet", "lab", "up", "--hosts", " ".join((*BROKERS, "web1", "batch1")))
        assert done.returncode == 0, done.stdout
    elif lab.run("fleet", "lab", "ssh", "broker3", "--", "true").returncode:
        pytest.skip('the lab has no three brokers: fleet lab up --hosts "broker1 broker2 broker3 web1 batch1"')
    folder = tmp_path_factory.mktemp("rabbitmq")
    (folder / "group_data").mkdir()
    inventory_with(folder)
    (folder / "group_data" / "all.py").write_text('result_backend = "none"\n')
    set_broker(folder)
    yield folder
    if not OWN_LAB:
        lab.run("fleet", "lab", "down")
        lab.run("fleet", "lab", "up", "--hosts", "broker1 web1 batch1 gpu1=2048")


def set_broker(folder: Path, **settings: str) -> None:
    (folder / "group_data" / "broker.py").write_text(f"broker = { ({'kind': 'rabbitmq'} | settings)!r}\n")


def deployed(lab: Lab, folder: Path) -> str:
    """What a deploy prints."""
    done = lab.deploy(inventory=str(folder / "more.py"))
    assert done.returncode == 0, done.stdout
    return done.stdout


def processes(lab: Lab) -> list[str]:
    """The process of each node."""
    return [lab.ask(host, f"systemctl show --value --property=MainPID {UNIT}") for host in BROKERS]


def is_well(lab: Lab, folder: Path) -> None:
    inventory = str(folder / "more.py")
    done = lab.run("pytest", "-q", "--tb=short", "tests/host", "--inventory", inventory)
    assert done.returncode == 0, done.stdout
    done = lab.run("fleet", "status", inventory, "--json")
    assert json.loads(done.stdout[done.stdout.index("{") :])["working"] is True, done.stdout


def test_a_cluster_comes_up_and_the_next_deploy_changes_nothing(lab: Lab, folder: Path) -> None:
    deployed(lab, folder)
    is_well(lab, folder)
    before = processes(lab)
    output = deployed(lab, folder)
    for words in ("Write changed files", "Start services", "Restart outdated services"):
        assert f"Starting operation: {words}" not in output
    assert processes(lab) == before


def test_nodes_restart_one_after_the_other(lab: Lab, folder: Path) -> None:
    before = processes(lab)
    set_broker(folder, memory="35%")
    output = deployed(lab, folder)
    assert output.count("Starting operation: Wait until the other nodes can do without this one") == len(BROKERS)
    assert not set(before) & set(processes(lab))
    is_well(lab, folder)


def test_a_machine_that_was_away_comes_back_by_itself(lab: Lab, folder: Path) -> None:
    lab.ask("broker2", f"systemctl kill --signal=KILL {UNIT}")
    lab.ask("broker2", 'timeout 120 sh -c "until rabbitmqctl -q await_online_nodes 3; do sleep 1; done"')
    is_well(lab, folder)
