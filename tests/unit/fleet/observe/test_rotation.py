"""Who has the new value of a secret: decided from what machines and the broker report."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
from amqp import Connection

from fleet.broker.management import Management
from fleet.inventory.read import read_inventory
from fleet.observe.drift import View, roles_of_project
from fleet.observe.rotation import NEW, OLD, Holders, connections, machines_with, of_rabbitmq
from fleet.plan.plan import resolved
from fleet.spec.load import load_fleet
from fleet.spec.rabbitmq import account
from fleet.spec.secrets import BROKER_ADMIN, BROKER_MONITOR, BROKER_WORKER, COOKIE
from fleet.state.desired import State
from fleet.state.observed import ObservedMachine, ObservedPath, RunningUnit
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import ROOT
from tests.unit.rabbitmq_support import Node, Vhost

ROLES = tuple(role for role in roles_of_project() if getattr(role, "__name__", "") != "roles.driver")
MACHINE = ObservedMachine(memory=4 << 30, cores=4, python="3.11", os="debian 12")
KNOWN = {name: f"the present {name}" for name in (BROKER_WORKER, BROKER_MONITOR, BROKER_ADMIN, COOKIE)}
BEFORE = {name: f"the {name} before" for name in KNOWN}


def as_deployed(state: State) -> ObservedMachine:
    """A machine that has all this, and runs it."""
    paths = {file.path: ObservedPath("f", file.owner, file.group, file.mode, file.digest) for file in state.files}
    units = {unit.name: RunningUnit(active=True, enabled=True, stale=False, revision=unit.revision) for unit in state.units}
    return replace(MACHINE, paths=paths, units=units)


@pytest.fixture(scope="module")
def view() -> View:
    return view_of("redis")


def view_of(kind: str) -> View:
    """The example fleet, with a broker of this kind, on machines without anything."""
    inventory = read_inventory(ROOT / "inventory" / "prod.py")
    more = {"broker": {"kind": kind}, "result_backend": "none"} if kind != "redis" else {}
    inventory = replace(inventory, hosts={name: {**data, **more} for name, data in inventory.hosts.items()})
    fleet = load_fleet(inventory)
    machines = dict.fromkeys(fleet.hosts, MACHINE)
    return View(fleet, resolved(fleet, dict.fromkeys(machines, MACHINE.facts)), KNOWN, machines)


def deployed_with(view: View, secrets: dict[str, str], *hosts: str) -> View:
    """These hosts as a deploy with these secrets leaves them; None: all."""
    there = replace(view, secrets=secrets)
    fleet = view.fleet
    machines = {
        host: as_deployed(sum((role.desired(there, fleet.hosts[host]) for role in ROLES), State()))
        for host in (hosts or fleet.hosts)
    }
    return replace(view, observed={**view.observed, **machines})


def rotating(name: str) -> dict[str, str]:
    return {**KNOWN, f"{name}_BEFORE": BEFORE[name]}


def test_machines_have_the_value_that_they_were_deployed_with(view: View) -> None:
    with_old = deployed_with(view, {**KNOWN, BROKER_WORKER: BEFORE[BROKER_WORKER]})
    with_old = replace(with_old, secrets=rotating(BROKER_WORKER))
    values = machines_with(with_old, ROLES, BROKER_WORKER)
    workers = {name for name, host in view.fleet.hosts.items() if host.workers}
    assert workers <= set(values)
    assert set(values.values()) == {OLD}
    assert view.fleet.broker_host not in values, "the broker accepts both, and has neither"

    half = deployed_with(with_old, rotating(BROKER_WORKER), "web1.example.com")
    assert machines_with(half, ROLES, BROKER_WORKER) == {**values, "web1.example.com": NEW}

    whole = deployed_with(with_old, rotating(BROKER_WORKER))
    assert machines_with(whole, ROLES, BROKER_WORKER) == dict.fromkeys(values, NEW)


def test_a_process_that_is_older_than_its_file_has_the_value_before(view: View) -> None:
    host = "web1.example.com"
    old = deployed_with(view, {**KNOWN, BROKER_WORKER: BEFORE[BROKER_WORKER]}, host).observed[host]
    new = deployed_with(view, rotating(BROKER_WORKER), host).observed[host]
    cut_off = replace(view, secrets=rotating(BROKER_WORKER), observed={host: replace(new, units=old.units)})
    assert machines_with(cut_off, ROLES, BROKER_WORKER) == {host: OLD}


def test_a_worker_of_other_files_has_to_be_deployed_first(view: View) -> None:
    host = "web1.example.com"
    new = deployed_with(view, rotating(BROKER_WORKER), host).observed[host]
    other = {name: replace(unit, revision="of another release") for name, unit in new.units.items() if unit.revision}
    asked = replace(view, secrets=rotating(BROKER_WORKER), observed={host: replace(new, units=other)})
    assert "celery-web@1.service" in machines_with(asked, ROLES, BROKER_WORKER)[host]
    assert machines_with(asked, ROLES, BROKER_WORKER)[host].endswith("differs from what your files say: deploy")


def test_the_monitor_alone_has_the_monitors_password(view: View) -> None:
    asked = replace(deployed_with(view, rotating(BROKER_MONITOR)), secrets=rotating(BROKER_MONITOR))
    assert machines_with(asked, ROLES, BROKER_MONITOR) == {view.fleet.monitor_host: NEW}
    asked = replace(deployed_with(view, rotating(BROKER_ADMIN)), secrets=rotating(BROKER_ADMIN))
    assert machines_with(asked, ROLES, BROKER_ADMIN) == {}


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_several_may_change_with_the_same_two_deploys(kind: str) -> None:
    view = view_of(kind)
    both = {**rotating(BROKER_WORKER), **rotating(BROKER_MONITOR)}
    asked = replace(deployed_with(view, both), secrets=rotating(BROKER_MONITOR))
    assert machines_with(asked, ROLES, BROKER_MONITOR) == {view.fleet.monitor_host: NEW}, "the other is finished already"


def test_connections_from_before_the_new_value_have_the_one_before() -> None:
    def client(address: str, age: int, user: str = "worker") -> dict[str, str]:
        return {"addr": address, "age": str(age), "user": user}

    clients = [
        client("10.0.0.50:4000", 500),
        client("10.0.0.50:4001", 500),
        client("10.0.0.50:4002", 10),
        client("[fd00::1]:4000", 10),
        client("10.0.0.1:4000", 10),
        client("10.0.0.1:4001", 500),
        client("10.0.0.60:4001", 500, "monitor"),
    ]
    assert connections(clients, "worker", {"10.0.0.1": "web1"}, 100) == (
        {"10.0.0.50": 2, "web1": 1},
        {"10.0.0.50": 1, "fd00::1": 1},
    )
    assert connections(clients, "worker", {"10.0.0.1": "web1"}, None) == ({}, {"10.0.0.50": 3, "fd00::1": 1})


def test_what_stands_in_the_way_is_a_line_each() -> None:
    holders = Holders({"web1": NEW, "web2": OLD, "web3": "not known: no route"}, {"10.0.0.50": 1}, {"10.0.0.51": 2}, ("first",))
    assert holders.hindrances == [
        "web2 has the value before: deploy",
        "web3: not known: no route",
        "10.0.0.50 is connected with the value before (1 connection)",
        "first",
    ]
    assert Holders({"web1": NEW}, other={"10.0.0.51": 2}).hindrances == []


@pytest.mark.long
def test_rabbitmq_knows_who_uses_the_password_before(rabbitmq: Node, vhost: Vhost) -> None:
    before, after = account("worker", "the one before"), account("worker", "the new one")
    for user in (before, after):
        rabbitmq.api("PUT", f"users/{user.name}", {"password": user.password, "tags": ""})
        rabbitmq.api("PUT", f"permissions/{vhost.name}/{user.name}", {"configure": ".*", "write": ".*", "read": ".*"})
    api = Management(rabbitmq.management, "guest", "guest")
    try:
        with ExitStack() as stack:
            for user, number in ((before, 2), (after, 1)):
                for _ in range(number):
                    client = Connection(f"127.0.0.1:{rabbitmq.port}", user.name, user.password, virtual_host=vhost.name)
                    client.connect()
                    stack.callback(client.close)
            assert until(lambda: connections(of_rabbitmq(api), before.name, {}, 0) == ({"127.0.0.1": 2}, {}))
            assert connections(of_rabbitmq(api), after.name, {"127.0.0.1": "web1"}, 0) == ({"web1": 1}, {})
    finally:
        for user in (before, after):
            rabbitmq.api("DELETE", f"users/{user.name}")
