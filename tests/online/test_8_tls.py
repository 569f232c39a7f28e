"""The fleet's own Redis gets TLS on real machines, under load, and the faults are tried over it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleet.spec import certificates
from tests.online.conftest import NAME, ROLLING, ROOT, Lab, inventory_with
from tests.online.test_1_deploy import assert_all_answered

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB = "inventory/lab.py"
FAULTS = ("kill-worker", "partition", "broker-restart")


@pytest.fixture(scope="module")
def inventory(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The lab's fleet, with settings of its own beside it. It runs without TLS before and afterwards."""
    done = lab.deploy(*ROLLING)
    assert done.returncode == 0, done.stdout
    folder = tmp_path_factory.mktemp("tls")
    shutil.copytree(ROOT / "tests" / "online" / "rolling", folder / "group_data")
    yield inventory_with(folder)
    done = lab.deploy(*ROLLING)
    assert done.returncode == 1
    assert "the workers that run use TLS" in done.stdout
    for host in ("web1", "batch1", "gpu1"):
        lab.ask(host, "systemctl stop celery-*.service")
    done = lab.deploy(*ROLLING)
    assert done.returncode == 0, done.stdout


def set_tls(inventory: str, value: str) -> None:
    (Path(inventory).parent / "group_data" / "broker.py").write_text(f"broker = {{'tls': {value}}}\n")


def deploy_under_load(lab: Lab, inventory: str, producer: str, tasks: int) -> None:
    """Deploy, and see every task answered that is sent meanwhile. producer: the inventory whose broker they are sent to."""
    with ThreadPoolExecutor() as pool:
        answered = pool.submit(lab.exercise, tasks, producer)
        done = lab.deploy(inventory=inventory)
        assert done.returncode == 0, done.stdout
        assert_all_answered(answered.result(), tasks)


def test_connections_are_encrypted_step_by_step_under_load(lab: Lab, inventory: str) -> None:
    done = lab.run("fleet", "certificates", inventory)
    assert done.returncode == 0, done.stdout
    set_tls(inventory, "True")
    done = lab.deploy(inventory=inventory)
    assert done.returncode == 1
    assert "the workers that run use the plain port" in done.stdout
    set_tls(inventory, "'both'")
    done = lab.deploy("--limit", "broker1", inventory=inventory)
    assert done.returncode == 1
    assert "machines that --limit leaves out would not trust the broker's new certificate" in done.stdout
    deploy_under_load(lab, inventory, LAB, 200)
    assert (lab.listens("broker1", 6379), lab.listens("broker1", 6380)) == (True, True)
    set_tls(inventory, "True")
    deploy_under_load(lab, inventory, inventory, 200)
    assert (lab.listens("broker1", 6379), lab.listens("broker1", 6380)) == (False, True)
    for words in (("pytest", "-q", "--tb=short", "tests/host", "--inventory"), ("fleet", "status")):
        done = lab.run(*words, inventory)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", FAULTS)
def test_no_task_is_lost(lab: Lab, inventory: str, name: str) -> None:
    account = lab.drill(name, inventory=inventory)
    assert account["sent"] == account["finished"] > 20
    assert account["lost"] == 0


def test_a_new_authority_cuts_off_nobody(lab: Lab, inventory: str) -> None:
    folder = ROOT / ".lab" / NAME / "secrets-tls"
    before = (folder / certificates.AUTHORITIES).read_bytes()
    shutil.rmtree(folder)
    done = lab.run("fleet", "certificates", inventory)
    assert done.returncode == 0, done.stdout
    # As `fleet certificates` does when an authority ends.
    with (folder / certificates.AUTHORITIES).open("ab") as file:
        file.write(before)
    deploy_under_load(lab, inventory, inventory, 150)
