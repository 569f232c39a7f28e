"""A valid fleet is resolved, and every mistake of another is reported."""

import pytest

from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from tests.unit.fleet.spec.spec_support import ALL, WEB, inventory_of, mistakes

pytestmark = pytest.mark.usefixtures("app_folder")


def test_a_valid_fleet_is_resolved() -> None:
    fleet = load_fleet(inventory_of())
    assert isinstance(fleet, Fleet)
    assert (fleet.broker_host, fleet.records_host, fleet.broker_address) == ("broker1", "broker1", "10.0.0.10")
    worker = fleet.hosts["web1"].workers["web"]
    assert (worker.queues, worker.concurrency, worker.pool, worker.stop_seconds) == (["default"], 4, "prefork", 660)
    assert fleet.hosts["broker1"].workers == {}


def test_sizes_are_bytes() -> None:
    worker = load_fleet(inventory_of({**WEB, "memory_max": "512M"})).hosts["web1"].workers["web"]
    assert worker.memory_max == 512 * 1024 * 1024


def test_a_broker_without_an_address() -> None:
    inventory = inventory_of()
    hosts = {**inventory.hosts, "broker1": ALL}
    (mistake,) = mistakes(Inventory(hosts, inventory.groups, inventory.group_data))
    assert mistake.startswith('broker1.lan_address: missing; workers connect to it: write ("broker1", {')


def test_every_mistake_is_reported_at_once() -> None:
    every_mistake = mistakes(inventory_of({"queues": [], "concurency": 1}, brokers=0, celery_ap=1))
    assert len(every_mistake) == 4
