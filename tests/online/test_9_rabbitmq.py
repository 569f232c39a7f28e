"""A RabbitMQ of the fleet's own on three machines, two of which have the workers: an emulated machine that idles costs the others
their time. It is brought up, restarted node after node, looked at, and a node of it is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.online.conftest import Lab
from tests.online.rabbitmq_support import BROKERS, UNIT, deployed, fleet_of, set_broker, three_machines
from tests.unit.fleet_node.delivery.lease_support import until

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An inventory of a lab with three brokers, and group data that make them a RabbitMQ's."""
    with three_machines(lab):
        yield fleet_of(lab, tmp_path_factory.mktemp("rabbitmq"), web=["broker2"], batch=["broker1"])


def processes(lab: Lab) -> list[str]:
    """The process of each node."""
    return [lab.ask(host, f"systemctl show --value --property=MainPID {UNIT}") for host in BROKERS]


def is_well(lab: Lab, folder: Path, tests: str = "tests/host/test_rabbitmq.py") -> None:
    inventory = str(folder / "more.py")
    done = lab.run("pytest", "-q", "--tb=short", tests, "--inventory", inventory)
    assert done.returncode == 0, done.stdout
    looks: list[str] = []

    def works() -> bool:
        looks.append(lab.run("fleet", "status", inventory, "--json").stdout)
        return json.loads(looks[-1][looks[-1].index("{") :])["working"] is True

    assert until(works, 180), looks[-1]  # one look may take longer than it waits for a machine that is emulated


def test_a_cluster_comes_up_and_the_next_deploy_changes_nothing(lab: Lab, folder: Path) -> None:
    deployed(lab, folder)
    is_well(lab, folder, "tests/host")
    before = processes(lab)
    output = deployed(lab, folder)
    for words in ("Write changed files", "Start services", "Restart outdated services"):
        assert f"Starting operation: {words}" not in output
    assert processes(lab) == before


def test_nodes_restart_one_after_the_other(lab: Lab, folder: Path) -> None:
    before = processes(lab)
    set_broker(folder, memory="30%")
    output = deployed(lab, folder)
    assert output.count("Starting operation: Wait until the other nodes can do without this one") == len(BROKERS)
    assert not set(before) & set(processes(lab))
    is_well(lab, folder)


def test_a_machine_that_was_away_comes_back_by_itself(lab: Lab, folder: Path) -> None:
    lab.ask("broker2", f"systemctl kill --signal=KILL {UNIT}")
    lab.ask("broker2", 'timeout 300 sh -c "until rabbitmqctl -q await_online_nodes 3; do sleep 1; done"', timeout=330)
    is_well(lab, folder)


@pytest.mark.parametrize("name", ["broker-restart", "broker-kill", "kill-worker", "partition"])
def test_no_fault_loses_a_task(lab: Lab, folder: Path, name: str) -> None:
    account = lab.drill(name, inventory=str(folder / "more.py"))
    assert account["sent"] == account["finished"] > 20
    assert account["lost"] == 0


def test_a_node_that_is_killed_in_a_rollout_loses_no_task(lab: Lab, folder: Path, tmp_path: Path) -> None:
    inventory = str(folder / "more.py")
    before = workers(lab)
    with ThreadPoolExecutor() as pool:
        drill = pool.submit(lab.drill, "rollout", "--phases", "restart", inventory=inventory, log=tmp_path / "log")
        assert until(lambda: workers(lab) != before, 900), (tmp_path / "log").read_text()
        # The drill itself is connected through the first.
        lab.ask("broker3", f"systemctl kill --signal=KILL {UNIT}")
        account = drill.result()
    assert account["sent"] == account["finished"] > 100
    assert account["lost"] == 0
    assert not set(before) & set(workers(lab))
    is_well(lab, folder)


def workers(lab: Lab) -> list[str]:
    """The process of each worker of web and batch; 0 for one that does not run."""
    return [
        lab.ask(host, f"systemctl show --value --property=MainPID celery-{role}@{number}")
        for host, role in (("broker2", "web"), ("broker1", "batch"))
        for number in (1, 2)
    ]
