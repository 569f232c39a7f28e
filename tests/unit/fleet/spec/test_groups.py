"""Mistakes in the inventory's groups, and in the names of group data."""

import pytest

from fleet.spec.fleet import Inventory
from fleet.spec.load import load_fleet
from tests.unit.fleet.spec.spec_support import ALL, WEB, inventory_of, mistakes

pytestmark = pytest.mark.usefixtures("app_folder")


def test_an_unknown_name_in_group_data() -> None:
    assert mistakes(inventory_of(celery_ap="x")) == ["celery_ap: unknown setting; did you mean celery_app?"]


def test_pyinfras_own_names_are_accepted() -> None:
    load_fleet(inventory_of(ssh_user="root", _sudo=True))


def test_a_worker_of_an_unknown_group() -> None:
    assert mistakes(inventory_of(wbe_worker=WEB)) == [
        "wbe_worker: there is no group wbe in the inventory; did you mean web_worker?"
    ]


def test_no_broker_host() -> None:
    assert mistakes(inventory_of(brokers=0)) == [
        "the group broker of the inventory: found none; it needs exactly one host; or write "
        'broker = {"url": "@BROKER_URL"} in group_data/all.py for one that is not ours'
    ]


def test_two_broker_hosts() -> None:
    assert mistakes(inventory_of(brokers=2)) == [
        "the group broker of the inventory: found 2 (broker1, broker2); it needs exactly one host, or three with "
        'broker = {"kind": "rabbitmq"}'
    ]


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


def monitored(*hosts: str, **settings: object) -> Inventory:
    """With a monitor, which has these settings."""
    inventory = inventory_of()
    having = {**inventory.hosts, **{name: {**ALL, "monitor": settings} for name in hosts}}
    return Inventory(having, {**inventory.groups, "monitor": hosts}, inventory.group_data)


def test_a_monitor_is_one_host_or_none() -> None:
    assert load_fleet(inventory_of()).monitor_host is None
    assert load_fleet(monitored()).monitor_host is None
    fleet = load_fleet(monitored("monitor1", scrape_seconds=30))
    assert (fleet.monitor_host, fleet.monitor.scrape_seconds, fleet.monitor.retention_days) == ("monitor1", 30, 15)
    assert mistakes(monitored("monitor1", "monitor2")) == [
        "the group monitor of the inventory: found 2 (monitor1, monitor2); it has one host at most"
    ]


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"scrape": 30}, "monitor.scrape: unknown setting; did you mean grafana?"),
        ({"listen": "lan"}, 'monitor.listen: "lan" needs a lan_address of monitor1: write ("monitor1", {"lan_address": '),
        ({"node_exporter": "all"}, 'monitor.node_exporter: "all" needs a lan_address of web1, monitor1: write ("web1", '),
        ({"alertmanager_file": "none.yml"}, "monitor.alertmanager_file: none.yml: no such file"),
        ({"alerts": {"failing": 200}}, "monitor.alerts.failing: "),
        ({"retention_days": 10**9}, "monitor.retention_days: "),
    ],
)
def test_settings_of_the_monitor_that_cannot_be(settings: dict[str, object], mistake: str) -> None:
    (found,) = mistakes(monitored("monitor1", **settings))
    assert found.startswith(mistake.partition(" did you")[0])


def test_objectives_hold_for_the_whole_fleet() -> None:
    inventory = inventory_of(slo={"default": 5})
    assert mistakes(inventory) == [
        "slo: {} on broker1, {'default': 5.0} on web1; it holds for the whole fleet: write it in group_data/all.py"
    ]
    everywhere = inventory_of(everywhere={**ALL, "slo": {"default": 5}})
    assert load_fleet(everywhere).settings.slo == {"default": 5.0}
    (mistake,) = mistakes(inventory_of(everywhere={**ALL, "slo": {"default": 0}}))
    assert "slo.default" in mistake


def with_beats(*settings: dict[str, object]) -> Inventory:
    """With a host of the group beat for each of these settings."""
    inventory = inventory_of()
    own = {f"beat{number}": {**ALL, "beat": beat} for number, beat in enumerate(settings, 1)}
    return Inventory({**inventory.hosts, **own}, {**inventory.groups, "beat": tuple(own)}, inventory.group_data)


def test_beat_is_on_any_number_of_hosts() -> None:
    assert load_fleet(inventory_of()).beat_hosts == ()
    fleet = load_fleet(with_beats({"takeover": 10, "secrets": ["DB"]}, {"takeover": 10, "secrets": ["DB"]}))
    assert (fleet.beat_hosts, fleet.beat.takeover, fleet.beat.memory_max) == (("beat1", "beat2"), 10, 512 << 20)
    assert "DB" in fleet.secrets


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"take_over": 10}, "beat.take_over: unknown setting; did you mean takeover?"),
        ({"takeover": 40}, "beat.takeover: "),
        ({"scheduler": "celery beat"}, "beat.scheduler: write letters, digits and any of _ . : - alone, found 'celery beat'"),
        ({"environment": {"FLEET_BEAT_SCHEDULER": "x"}}, "beat.environment.FLEET_BEAT_SCHEDULER"),
    ],
)
def test_settings_of_beat_that_cannot_be(settings: dict[str, object], mistake: str) -> None:
    (found,) = mistakes(with_beats(settings))
    assert found.startswith(mistake), found


def test_beats_differ_in_nothing_since_any_may_lead() -> None:
    assert mistakes(with_beats({"takeover": 10}, {"takeover": 20})) == [
        "beat.takeover: 10 on beat1, 20 on beat2; any of them may lead: write it in group_data/beat.py"
    ]
