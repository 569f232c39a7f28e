"""Each mistake in a setting is one line: the path, what was found and what to write."""

from typing import Any

import pytest

from fleet.spec.fleet import Inventory
from fleet.spec.load import load_fleet
from tests.unit.fleet.spec.spec_support import ALL, WEB, inventory_of, mistakes

pytestmark = pytest.mark.usefixtures("app_folder")


def test_an_unknown_setting_is_answered_with_the_nearest() -> None:
    assert mistakes(inventory_of({"queues": ["default"], "concurency": 4})) == [
        "web_worker.concurency: unknown setting; did you mean concurrency?",
    ]


def test_a_worker_with_no_queue() -> None:
    assert mistakes(inventory_of({"concurrency": 4, "queues": []})) == [
        "web_worker.queues: found none, write at least one (Queues to consume, e.g. default, priority.)"
    ]
    assert mistakes(inventory_of({"concurrency": 4})) == [
        "web_worker.queues: missing (Queues to consume, e.g. default, priority.)"
    ]


def test_a_queue_that_is_named_twice() -> None:
    (mistake,) = mistakes(inventory_of({**WEB, "queues": ["default", "priority", "default"]}))
    assert mistake.startswith("web_worker.queues: write default once, found ['default', 'priority', 'default']")


def test_a_wrong_type_says_what_was_found() -> None:
    (mistake,) = mistakes(inventory_of({**WEB, "concurrency": "many"}))
    assert mistake.startswith('web_worker.concurrency: write a number such as 8, a number a core such as "4x"')
    assert "found 'many'" in mistake
    (mistake,) = mistakes(inventory_of({**WEB, "memory_max": "lots"}))
    assert mistake.startswith('web_worker.memory_max: write a size such as "512M" or "2G", found \'lots\'')


def test_a_mistake_in_a_nested_setting_names_its_path() -> None:
    (mistake,) = mistakes(inventory_of(nvidia={"drivr": "debian"}))
    assert mistake == "nvidia.drivr: unknown setting; did you mean driver?"
    (mistake,) = mistakes(inventory_of(nvidia={"driver": "nouveau"}))
    assert mistake.startswith("nvidia.driver: Input should be 'debian', 'existing' or 'none', found 'nouveau' (Where the driver")
    vendor = {"uri": "https://packages.example.com/", "suite": "./", "key": "vendor.asc", "fingerprint": "AB CD"}
    (mistake,) = mistakes(inventory_of(nvidia={"repository": vendor}))
    assert mistake.startswith("nvidia.repository.fingerprint: write the key's whole fingerprint, 40 hexadecimal digits, found")


def test_a_queue_name_cannot_smuggle_arguments() -> None:
    (mistake,) = mistakes(inventory_of({**WEB, "queues": ["default --autoscale=10"]}))
    assert mistake.startswith("web_worker.queues.0:")


def test_an_address_is_an_address() -> None:
    inventory = inventory_of()
    hosts = {**inventory.hosts, "broker1": {**ALL, "lan_address": "10.0.0.1 0.0.0.0"}}
    (mistake,) = mistakes(Inventory(hosts, inventory.groups, inventory.group_data))
    assert mistake.startswith('lan_address: write an IP address such as "10.0.0.10", found')


def test_a_variable_that_the_deploy_sets_is_refused() -> None:
    (mistake,) = mistakes(inventory_of({**WEB, "environment": {"PYTHONPATH": "/x"}}))
    assert "PYTHONPATH is set by the deploy itself; leave it out" in mistake


def test_a_set_of_queues_is_refused() -> None:
    (mistake,) = mistakes(inventory_of({**WEB, "queues": {"a", "b"}}))
    assert mistake.startswith('web_worker.queues: write a list such as ["default"], found {')


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("time_limit", None, "write a whole number, found None"),
        ("time_limit", True, "write a whole number, found True"),
        ("min_consumers", True, "write a whole number, found True"),
        ("time_limit", 10**30, "Input should be less than or equal to 100000000"),
        ("environment", ["A"], 'write a dict such as {"NAME": "value"}, found [\'A\']'),
        ("queues", [""], "write letters, digits and any of _ . : - alone, found ''"),
        ("concurrency", "²", 'write a number such as 8, a number a core such as "4x", or "auto", found'),
        ("polling_interval", 3, "there is no such setting any more, since workers look for the messages of dead ones without it"),
        ("cpu_quota", "lots", 'write a share of one core\'s time such as "150%", found'),
        ("memory_max", 512, 'write a size such as "512M" or "2G" (a bare number is bytes), found 512'),
    ],
)
def test_a_wrong_value_is_answered_with_what_to_write(setting: str, value: Any, advice: str) -> None:
    (mistake,) = mistakes(inventory_of({**WEB, setting: value}))
    assert mistake.startswith(f"web_worker.{setting}")
    assert advice in mistake


@pytest.mark.parametrize(
    ("lease", "advice"),
    [
        (14, "write 15 or more: in a stall, a slow failover of the broker or a pause of a virtual machine, tasks that still run"),
        (3601, "write 3600 or less: the tasks of a dead machine would wait for longer than with Celery's own visibility timeout"),
        ("never", "write seconds from 15 to 3600, or None for no lease, found 'never'"),
        (True, "write seconds from 15 to 3600, or None for no lease, found True"),
        (0, "write seconds from 15 to 3600, or None for no lease, found 0"),
        (20.5, "write seconds from 15 to 3600, or None for no lease, found 20.5"),
    ],
)
def test_a_lease_that_is_too_short_or_too_long_says_why(lease: Any, advice: str) -> None:
    (mistake,) = mistakes(inventory_of(everywhere={**ALL, "lease": lease}))
    assert mistake.startswith(f"lease: {advice}")


@pytest.mark.parametrize(("lease", "seconds"), [(15, 15), (3600, 3600), ("90", 90), (None, None)])
def test_a_lease(lease: Any, seconds: int | None) -> None:
    assert load_fleet(inventory_of(everywhere={**ALL, "lease": lease})).settings.lease == seconds


def test_a_lease_holds_for_the_whole_fleet() -> None:
    (mistake,) = mistakes(inventory_of(lease=30))
    assert mistake == "lease: 60 on broker1, 30 on web1; it holds for the whole fleet: write it in group_data/all.py"
