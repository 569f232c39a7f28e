"""A small fleet for tests, and the machines that it is sized to."""

from pathlib import Path
from typing import Any

from fleet.plan.facts import MachineFacts
from fleet.plan.plan import Plan, resolved
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet

GB = 1 << 30
MACHINE = MachineFacts(cores=4, memory=8 * GB, gpus=1)


PINS = "celery==5.7.0\nredis==8.1.0\n"


def make_app(folder: Path, requirements: str = "") -> None:
    """Make the folder `app`, which the fleet's app_source names. requirements: besides what every app needs."""
    (folder / "app").mkdir()
    (folder / "app" / "requirements.txt").write_text(PINS + requirements)


def fleet_of(workers: dict[str, Any], *, broker: dict[str, Any] | None = None, hosts_a_role: int = 2, **settings: Any) -> Fleet:
    """A fleet of one broker and, for each role in `workers`, `hosts_a_role` hosts (web1, web2…). settings: of every host."""
    on_every_host = {"celery_app": "shop.app", "app_source": "app", **settings}
    groups = {role: tuple(f"{role}{number}" for number in range(1, hosts_a_role + 1)) for role in workers}
    hosts: dict[str, Any] = {"broker1": {**on_every_host, "lan_address": "10.0.0.10", "broker": broker or {}}}
    for role, names in groups.items():
        hosts |= {name: {**on_every_host, f"{role}_worker": workers[role]} for name in names}
    return load_fleet(Inventory(hosts, {"broker": ("broker1",), **groups}, frozenset(workers)))


def plan_of(fleet: Fleet, machine: MachineFacts = MACHINE) -> Plan:
    """The plan of a fleet whose machines are all alike."""
    return resolved(fleet, dict.fromkeys(fleet.hosts, machine))
