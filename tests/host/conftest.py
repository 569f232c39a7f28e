"""Checks of a deployed fleet that change nothing on it: pytest tests/host --inventory inventory/prod.py

The expected state comes from the same inventory and group data as the deploy. The actual state comes from the machines over SSH,
and from the broker through a tunnel. The checks send only a ping, and one message to each queue that answers with its argument.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
from celery import Celery

from fleet.broker import connect as connecting
from fleet.inventory import ssh
from fleet.inventory.ask import ask_machines
from fleet.inventory.read import read_inventory
from fleet.plan import facts, process
from fleet.plan.instance import Instance
from fleet.plan.plan import Plan, resolved
from fleet.spec import endpoint, secrets
from fleet.spec.broker import Redis
from fleet.spec.endpoint import Way
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from fleet.spec.mistakes import SpecError

_PLAN = pytest.StashKey[Plan]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inventory", type=Path, help="the inventory file of the fleet to check")
    parser.addoption("--group-data", type=Path, help="more group data, as pyinfra's --group-data")


def _fleet(config: pytest.Config) -> tuple[Inventory, Fleet]:
    path = config.getoption("--inventory")
    if path is None:
        raise pytest.UsageError("say which fleet to check: --inventory inventory/prod.py")
    try:
        inventory = read_inventory(path, config.getoption("--group-data"))
        return inventory, load_fleet(inventory)
    except SpecError as error:
        raise pytest.UsageError(str(error)) from None


def _plan(config: pytest.Config) -> Plan:
    """The fleet, sized to its machines, which are asked once."""
    if _PLAN not in config.stash:
        inventory, fleet = _fleet(config)
        try:
            config.stash[_PLAN] = resolved(fleet, ask_machines(inventory.hosts))
        except facts.FactsError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_PLAN]


def pytest_sessionstart(session: pytest.Session) -> None:
    _plan(session.config)  # what is wrong is told here without a traceback


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not {"machine", "instance"} & set(metafunc.fixturenames):
        return
    _, fleet = _fleet(metafunc.config)
    if "machine" in metafunc.fixturenames:
        metafunc.parametrize("machine", list(fleet.hosts), scope="session")
    if "instance" in metafunc.fixturenames:
        instances = _plan(metafunc.config).instances
        metafunc.parametrize("instance", instances, ids=lambda instance: str(instance).replace(":", "-"), scope="session")


@pytest.fixture(scope="session")
def fleet(request: pytest.FixtureRequest) -> Fleet:
    return _fleet(request.config)[1]


@pytest.fixture(scope="session")
def plan(request: pytest.FixtureRequest) -> Plan:
    return _plan(request.config)


@pytest.fixture(scope="session")
def fleet_secrets(fleet: Fleet) -> dict[str, str]:
    return secrets.read(Path(fleet.settings.secrets_file))


@pytest.fixture(scope="session")
def connect(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """connect(host name) → a testinfra host. One SSH connection a host, ended with the session."""
    inventory, _ = _fleet(request.config)
    folder = tmp_path_factory.mktemp("ssh")
    hosts: dict[str, Any] = {}

    def _connect(name: str) -> Any:
        if name not in hosts:
            _, *options, address = ssh.ssh_command(name, inventory.hosts[name])
            control = f"-o ControlMaster=auto -o ControlPath={folder}/%C -o ControlPersist=60s"
            hosts[name] = testinfra.get_host(
                f"ssh://{address}",
                ssh_extra_args=f"{' '.join(options)} {control}",
                sudo=inventory.hosts[name].get("_sudo", False),
            )
        return hosts[name]

    yield _connect
    for name in hosts:
        command = ssh.ssh_command(name, inventory.hosts[name])
        subprocess.run(
            [*command[:-1], "-o", f"ControlPath={folder}/%C", "-O", "exit", command[-1]], capture_output=True, check=False
        )


@pytest.fixture(scope="session")
def own_redis(fleet: Fleet) -> Redis:
    """The settings of the fleet's own Redis."""
    if fleet.redis is None:
        pytest.skip("the broker is not this fleet's")
    return fleet.redis


@pytest.fixture(scope="session")
def way(request: pytest.FixtureRequest, fleet: Fleet, fleet_secrets: dict[str, str]) -> Iterator[Way]:
    """The way to the broker from here."""
    inventory, _ = _fleet(request.config)
    with connecting.reached(inventory.hosts, fleet, fleet_secrets) as way:
        yield way


@pytest.fixture(scope="session")
def celery_app(request: pytest.FixtureRequest, way: Way, fleet: Fleet, fleet_secrets: dict[str, str]) -> Iterator[Celery]:
    """A client of the fleet's broker that knows none of the app's tasks."""
    inventory, _ = _fleet(request.config)
    with (
        pytest.MonkeyPatch.context() as here,
        connecting.results_here(inventory.hosts, fleet, fleet_secrets) as results,
    ):
        # By variables and not by arguments: Celery prefers the variables of whoever runs this to any argument.
        for name, url in (endpoint.celery_variables(fleet, fleet_secrets, way=way) | results).items():
            here.setenv(name, url)
        with Celery("check", set_as_current=False) as app:
            yield app


@pytest.fixture(scope="session")
def node_name(connect: Any) -> Any:
    """node_name(instance) → its whole name in Celery."""
    names: dict[str, str] = {}

    def _node_name(instance: Instance) -> str:
        if instance.host not in names:
            names[instance.host] = connect(instance.host).check_output("hostname")
        return process.node(instance.role, instance.number, names[instance.host])

    return _node_name
