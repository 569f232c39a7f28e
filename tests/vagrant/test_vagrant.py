"""`vagrant up && pyinfra inventory/vagrant.py deploy.py`, for real: make vagrant-test. Runs only in tests/vagrant/cage.py."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machines import DEFAULT_HOSTS, vagrant_address
from tests.online.conftest import BIN, ROOT, Lab
from tests.vagrant import box

MACHINES = DEFAULT_HOSTS.split()
WORKERS = [name for name in MACHINES if not name.startswith("broker")]
BOX = "celery-fleet/lab"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "FLEET_"))} | {
    "FLEET_BOX": BOX,
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT / "examples" / "shop"),
    "NO_COLOR": "1",
}
HERE = Lab(ENVIRONMENT)
PATIENCE = 1500
"""Seconds for four emulated machines to boot, or for a build on one of them."""


def vagrant(*words: str) -> str:
    done = HERE.run("vagrant", *words, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout
    return done.stdout


def deploy() -> str:
    done = HERE.deploy(inventory="inventory/vagrant.py")
    assert done.returncode == 0, done.stdout
    return done.stdout


def ask(machine: str, command: str) -> str:
    """The output of a shell command that runs as root on a machine. Asserts that it succeeds."""
    words = ["vagrant", "ssh", machine, "--no-tty", "-c", f"sudo sh -c '{command}'"]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def _machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if Path(os.environ.get("VAGRANT_DOTFILE_PATH", "")).name != "state":
        pytest.fail("it makes networks and machines: run it by make vagrant-test")
    file = tmp_path_factory.mktemp("box") / "lab.box"
    box.build(file)
    vagrant("box", "add", "--name", BOX, str(file))
    file.unlink()
    yield
    HERE.run("vagrant", "destroy", "-f")


def test_up_gives_every_machine_the_address_that_was_asked_for() -> None:
    assert "deploy.py" not in vagrant("up")
    for name in MACHINES:
        assert vagrant_address(name) in ask(name, "hostname -I").split()
        assert ask(name, "hostname") == name


def test_the_deploy_is_the_whole_story() -> None:
    deploy()
    done = HERE.run("pytest", "-q", "-n", "4", "--tb=short", "tests/host", "--inventory", "inventory/vagrant.py")
    assert done.returncode == 0, done.stdout


def test_provision_is_the_same_deploy_and_changes_nothing_more() -> None:
    before = {name: ask(name, "systemctl show --value --property=MainPID celery-*") for name in WORKERS}
    output = vagrant("provision")
    assert output.count("inventory/vagrant.py deploy.py -y") == 1  # Vagrant prints the command that it runs
    assert {name: ask(name, "systemctl show --value --property=MainPID celery-*") for name in WORKERS} == before


def test_a_release_is_rolled_out_under_load_and_no_task_is_lost(tmp_path: Path) -> None:
    release = ("--phases", "release", "--before", "5", "--yes")
    account = HERE.drill("rollout", *release, inventory="inventory/vagrant.py", log=tmp_path / "log", timeout=PATIENCE)
    assert (account["lost"], account["run_twice"]) == (0, 0)
    assert account["sent"] == account["finished"] > 50


def test_a_machine_that_is_down_is_named() -> None:
    vagrant("halt", "web1")
    done = HERE.deploy(inventory="inventory/vagrant.py")
    assert done.returncode != 0
    assert "not running: web1 (shutoff); start with: vagrant up web1" in done.stdout


def test_after_halt_and_up_all_workers_come_back_by_themselves() -> None:
    vagrant("halt")
    vagrant("up")
    for name in MACHINES:
        assert vagrant_address(name) in ask(name, "hostname -I").split()
        # A boot that waits two minutes for a network card without an address leaves a failed unit.
        ask(name, "systemctl is-system-running --wait >/dev/null; systemctl --failed --quiet --no-legend | wc -l | grep -qx 0")
    here = "192.168.56.1"  # this machine's address on the network of the virtual machines
    work = ("python", "-m", "shop.exercise", "--tasks", "60", "--supplier-listen", f"{here}:0", "--supplier-host", here, "--json")
    done = HERE.run("fleet", "connect", "inventory/vagrant.py", "--", *work)
    assert done.returncode == 0, done.stdout


def test_a_machine_that_is_destroyed_and_made_again_is_deployed_anew() -> None:
    vagrant("destroy", "-f", "gpu1")
    vagrant("up", "gpu1")
    assert "build release" in deploy()
    assert ask("gpu1", "systemctl is-active celery-gpu@1") == "active"


def test_destroy_leaves_no_machine() -> None:
    vagrant("destroy", "-f")
    done = HERE.run("virsh", "-c", "qemu:///system", "list", "--all", "--name")
    assert done.stdout.split() == []
    done = HERE.deploy(inventory="inventory/vagrant.py")
    assert done.returncode != 0
    assert "no machine of the Vagrantfile is running: broker1 (not created)" in done.stdout
