"""Each mistake in the settings is one line: the path, what was found and what to write."""

from pathlib import Path
from typing import Any

import pytest

from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from fleet.spec.mistakes import SpecError
from tests.unit.fleet_support import make_app

WEB: dict[str, Any] = {"queues": ["default"], "concurrency": 4}
ALL: dict[str, Any] = {"celery_app": "shop.app", "app_source": "app"}


@pytest.fixture(autouse=True)
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)


def inventory_of(web: Any = WEB, brokers: int = 1, everywhere: dict[str, Any] = ALL, **group_data: Any) -> Inventory:
    """One broker (or as many as asked for) and web1, with `web` as its web_worker and further group data."""
    broker_names = tuple(f"broker{number + 1}" for number in range(brokers))
    hosts: dict[str, Any] = {name: {**everywhere, "lan_address": "10.0.0.10"} for name in broker_names}
    hosts["web1"] = {**everywhere, "web_worker": web, **group_data}
    return Inventory(hosts, {"broker": broker_names, "web": ("web1",)}, frozenset({"web"}))


def mistakes(inventory: Inventory) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_fleet(inventory)
    return caught.value.mistakes


def test_a_valid_fleet_is_resolved() -> None:
    fleet = load_fleet(inventory_of())
    assert isinstance(fleet, Fleet)
    assert (fleet.broker_host, fleet.broker_address, fleet.broker.port) == ("broker1", "10.0.0.10", 6379)
    worker = fleet.hosts["web1"].workers["web"]
    assert (worker.queues, worker.concurrency, worker.pool, worker.stop_seconds) == (["default"], 4, "prefork", 660)
    assert fleet.hosts["broker1"].workers == {}


def test_sizes_are_bytes() -> None:
    worker = load_fleet(inventory_of({**WEB, "memory_max": "512M"})).hosts["web1"].workers["web"]
    assert worker.memory_max == 512 * 1024 * 1024


def test_an_unknown_setting_is_answered_with_the_nearest() -> None:
    assert mistakes(inventory_of({"queues": ["default"], "concurency": 4})) == [
        "web_worker.concurency: unknown setting; did you mean concurrency?",
    ]


def test_an_unknown_name_in_group_data() -> None:
    assert mistakes(inventory_of(celery_ap="x")) == ["celery_ap: unknown setting; did you mean celery_app?"]


def test_pyinfras_own_names_are_accepted() -> None:
    load_fleet(inventory_of(ssh_user="root", _sudo=True))


def test_a_worker_of_an_unknown_group() -> None:
    assert mistakes(inventory_of(wbe_worker=WEB)) == [
        "wbe_worker: there is no group wbe in the inventory; did you mean web_worker?"
    ]


def test_a_worker_with_no_queue() -> None:
    assert mistakes(inventory_of({"concurrency": 4, "queues": []})) == [
        "web_worker.queues: found none, write at least one (Queues to consume, e.g. default, priority.)"
    ]
    assert mistakes(inventory_of({"concurrency": 4})) == [
        "web_worker.queues: missing (Queues to consume, e.g. default, priority.)"
    ]


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


def test_no_broker_host() -> None:
    assert mistakes(inventory_of(brokers=0)) == ["broker: found none; the inventory needs exactly one host in the group broker"]


def test_two_broker_hosts() -> None:
    assert mistakes(inventory_of(brokers=2)) == [
        "broker: found 2 (broker1, broker2); the inventory needs exactly one host in the group broker"
    ]


def test_a_broker_without_an_address() -> None:
    inventory = inventory_of()
    hosts = {**inventory.hosts, "broker1": ALL}
    (mistake,) = mistakes(Inventory(hosts, inventory.groups, inventory.group_data))
    assert mistake.startswith('broker1.lan_address: missing; workers connect to it: write ("broker1", {')


def test_a_group_without_data() -> None:
    inventory = inventory_of()
    groups = {**inventory.groups, "gpu": ("web1",), "wbe": ("web1",)}
    assert mistakes(Inventory(inventory.hosts, groups, inventory.group_data)) == [
        "gpu: the group has web1 and no data; write group_data/gpu.py with gpu_worker = {…} for a worker role",
        "wbe: the group has web1 and no data; write group_data/wbe.py; did you mean the group web?",
    ]


def test_no_worker_at_all() -> None:
    inventory = inventory_of()
    (mistake,) = mistakes(Inventory({"broker1": inventory.hosts["broker1"]}, {"broker": ("broker1",)}, frozenset()))
    assert mistake.startswith("no worker: no host is in a group with a setting <group>_worker")


def test_a_missing_app_source() -> None:
    assert mistakes(inventory_of(everywhere={**ALL, "app_source": "nowhere"})) == [
        f"app_source: no such folder: nowhere (seen from {Path.cwd()}); write the path of the app's code"
    ]


def test_a_missing_requirements_file() -> None:
    (mistake,) = mistakes(inventory_of(everywhere={**ALL, "app_requirements": "pins.txt"}))
    assert mistake.startswith("app_requirements: no such file: app/pins.txt; pin the app's requirements there")


def test_unpinned_requirements(tmp_path: Path) -> None:
    (tmp_path / "app" / "requirements.txt").write_text("celery[redis]==5.7.0\nrequests>=2\n")
    assert mistakes(inventory_of()) == [
        "app/requirements.txt: not pinned with ==: requests; the same release must be the same everywhere"
    ]


def test_every_mistake_is_reported_at_once() -> None:
    every_mistake = mistakes(inventory_of({"queues": [], "concurency": 1}, brokers=0, celery_ap=1))
    assert len(every_mistake) == 4


def test_an_address_is_an_address() -> None:
    inventory = inventory_of()
    hosts = {**inventory.hosts, "broker1": {**ALL, "lan_address": "10.0.0.1 0.0.0.0"}}
    (mistake,) = mistakes(Inventory(hosts, inventory.groups, inventory.group_data))
    assert mistake.startswith('lan_address: write an IP address such as "10.0.0.10", found')


def test_a_variable_that_the_deploy_sets_is_refused() -> None:
    (mistake,) = mistakes(inventory_of({**WEB, "environment": {"PYTHONPATH": "/x"}}))
    assert "PYTHONPATH is set by the deploy itself; leave it out" in mistake


def test_a_secrets_file_that_would_be_shipped_is_refused() -> None:
    (mistake,) = mistakes(inventory_of(everywhere={**ALL, "secrets_file": "app/prod.env"}))
    assert mistake == "secrets_file: app/prod.env is inside app_source and would be shipped to every machine; move it"
    load_fleet(inventory_of(everywhere={**ALL, "secrets_file": "app/secrets/prod.env"}))


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
        ("polling_interval", "inf", "Input should be a finite number"),
        ("cpu_quota", "lots", 'write a share of one core\'s time such as "150%", found'),
        ("memory_max", 512, 'write a size such as "512M" or "2G" (a bare number is bytes), found 512'),
    ],
)
def test_a_wrong_value_is_answered_with_what_to_write(setting: str, value: Any, advice: str) -> None:
    (mistake,) = mistakes(inventory_of({**WEB, setting: value}))
    assert mistake.startswith(f"web_worker.{setting}")
    assert advice in mistake


def test_a_role_of_a_group_without_the_host() -> None:
    inventory = inventory_of()
    hosts = {**inventory.hosts, "mail1": {**ALL, "web_worker": WEB}}
    groups = {**inventory.groups, "mail": ("mail1",)}
    (mistake,) = mistakes(Inventory(hosts, groups, frozenset({"web", "mail"})))
    assert mistake == "web_worker: mail1 is not in that group, and has no other role; its groups are mail: write e.g. mail_worker"


def test_a_role_name_that_no_unit_can_have() -> None:
    inventory = inventory_of()
    hosts = {**inventory.hosts, "x1": {**ALL, "wéb x_worker": WEB}}
    messages = mistakes(Inventory(hosts, {**inventory.groups, "wéb x": ("x1",)}, frozenset({"web", "wéb x"})))
    assert messages == [
        "wéb x: not a name for a role, because units are named after it; write up to 40 of a-z, A-Z, 0-9, _ and -"
    ]
