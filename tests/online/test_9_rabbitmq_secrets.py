"""A RabbitMQ of the fleet's own on one machine: its password changes, it gets TLS, and two nodes join it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleet.spec import secrets
from fleet.spec.secrets import BROKER_WORKER
from tests.online.conftest import NAME, ROOT, Lab, inventory_with
from tests.online.rabbitmq_support import BROKERS, UNIT, deployed, fleet_of, set_broker, three_machines
from tests.online.test_1_deploy import assert_all_answered

pytestmark = [pytest.mark.lab, pytest.mark.slow]

FILE = ROOT / ".lab" / NAME / "secrets.env"
GROUPS = {"web": ["broker2"], "batch": ["broker1"]}


@pytest.fixture(scope="module")
def folder(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An inventory of a lab with three machines, of which one is the broker's."""
    with three_machines(lab):
        folder = fleet_of(lab, tmp_path_factory.mktemp("rabbitmq"), broker=["broker1"], **GROUPS)
        deployed(lab, folder)
        yield folder


def deployed_under_load(lab: Lab, folder: Path) -> str:
    """What a deploy prints, while tasks are sent and answered."""
    with ThreadPoolExecutor() as pool:
        answered = pool.submit(lab.exercise, 100, str(folder / "more.py"))
        output = deployed(lab, folder)
        assert_all_answered(answered.result(), 100)
    return output


def users(lab: Lab) -> set[str]:
    """That the broker lets in as a worker."""
    lines = lab.ask("broker1", "rabbitmqctl -q list_users --no-table-headers").splitlines()
    return {line.split()[0] for line in lines if line.startswith("worker")}


def node(lab: Lab) -> str:
    """The process of the first node."""
    return lab.ask("broker1", f"systemctl show --value --property=MainPID {UNIT}")


def test_a_password_changes_under_load(lab: Lab, folder: Path) -> None:
    inventory = str(folder / "more.py")
    before, process = users(lab), node(lab)
    old = secrets.read(FILE)[BROKER_WORKER]
    done = lab.run("fleet", "secrets", inventory, "--rotate", BROKER_WORKER)
    assert done.returncode == 0, done.stdout
    deployed_under_load(lab, folder)
    both = users(lab)
    assert before < both
    assert len(both) == len(before) + 1
    assert secrets.read(FILE)[BROKER_WORKER] != old
    done = lab.run("fleet", "secrets", inventory, "--finish", BROKER_WORKER, "-y")
    assert done.returncode == 0, done.stdout
    deployed_under_load(lab, folder)
    assert users(lab) == both - before
    assert node(lab) == process, "RabbitMQ was restarted"


def test_connections_are_encrypted_step_by_step(lab: Lab, folder: Path) -> None:
    done = lab.run("fleet", "certificates", str(folder / "more.py"))
    assert done.returncode == 0, done.stdout
    set_broker(folder, tls="both")
    deployed(lab, folder)
    assert {port: lab.listens("broker1", port) for port in (5672, 5671)} == {5672: True, 5671: True}
    set_broker(folder, tls=True)
    deployed(lab, folder)
    assert {port: lab.listens("broker1", port) for port in (5672, 5671)} == {5672: False, 5671: True}
    assert_all_answered(lab.exercise(60, str(folder / "more.py")), 60)
    done = lab.run("pytest", "-q", "--tb=short", "tests/host", "--inventory", str(folder / "more.py"))
    assert done.returncode == 0, done.stdout


def test_two_nodes_join(lab: Lab, folder: Path) -> None:
    inventory_with(folder, **GROUPS)
    done = lab.run("fleet", "certificates", str(folder / "more.py"))
    assert done.returncode == 0, done.stdout
    deployed(lab, folder)
    done = lab.run("pytest", "-q", "--tb=short", "tests/host/test_rabbitmq.py", "--inventory", str(folder / "more.py"))
    assert done.returncode == 0, done.stdout
    for host in BROKERS:
        lab.ask(host, "rabbitmqctl -q await_online_nodes 3")
    assert_all_answered(lab.exercise(60, str(folder / "more.py")), 60)
