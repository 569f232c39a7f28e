"""Whether workers may go for good, by what is consumed now."""

from pathlib import Path
from typing import Any

import pytest

from fleet.broker.view import BrokerView
from fleet.errors import FleetError
from fleet.rollout.retire import explain_alive, judge, nodes_on, with_host
from fleet.spec.fleet import Fleet, Inventory
from fleet_node.protocol import RetiredWorkers
from tests.unit.fleet_support import fleet_of, make_app

WEB1, WEB2, WEB3 = "web-worker-1@web1", "web-worker-1@web2", "web-worker-1@web3"


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    return fleet_of({"web": {"queues": ["default"], "min_consumers": 2}, "batch": {"queues": ["batch"]}}, hosts_a_role=3)


@pytest.mark.parametrize(
    ("view", "abandoned", "error", "note"),
    [
        ({"workers": {WEB1: ("default",), WEB2: ("default",), WEB3: ("default",)}}, "", "", ""),
        (
            {"workers": {WEB1: ("default",), WEB2: ("default",)}, "waiting": {"default": 5}},
            "",
            "default would have 1 consumer, and min_consumers is 2. Start workers of it",
            "",
        ),
        ({"workers": {WEB1: ("default",), WEB2: ("default",)}}, "default", "", "as --abandon-queues says: default would have 1"),
        ({"workers": {WEB2: ("default",)}}, "", "default would have no consumer. Start", ""),
        (
            {"workers": {WEB2: ("default",)}, "waiting": {"default": 5}},
            "",
            "no worker would consume them any more: 5 tasks wait in default. ",
            "",
        ),
        (
            {"workers": {WEB2: ("default",)}, "held": {"default": 2}},
            "",
            "no worker would consume them any more: 0 tasks wait in default, and workers hold 2 of it",
            "",
        ),
        (
            {"workers": {WEB2: ("default",)}, "waiting": {"default": 5}},
            "default",
            "",
            "left without a consumer, as abandon-queues says: 5 tasks wait in default",
        ),
        # Alive, and too busy to answer: the one that goes counts, and the one that stays does not.
        ({"workers": {WEB1: ("default",), WEB2: (), WEB3: ()}}, "", "default would have 1 consumer", ""),
        # Queues that it does not consume are not its affair.
        ({"workers": {}, "waiting": {"default": 5}}, "", "", ""),
        (
            {"workers": {WEB1: ("default",), WEB2: ("default",), WEB3: ("default",)}, "waiting": {"batch": 1}},
            "",
            "",
            "",
        ),
        # An older release's queue, of which the settings say nothing any more.
        (
            {"workers": {WEB1: ("default",), WEB3: ("default",), WEB2: ("default", "old")}},
            "",
            "old would have no consumer",
            "",
        ),
    ],
)
def test_whether_a_worker_may_go(fleet: Fleet, view: dict[str, Any], abandoned: str, error: str, note: str) -> None:
    names = frozenset(filter(None, [abandoned]))
    verdict = judge(BrokerView(**view), fleet, "web2", nodes_on(view["workers"], ["web2"], None), names)
    assert (verdict.error or "").startswith(error) and bool(verdict.error) == bool(error)
    assert not error or (verdict.error or "").partition("--abandon-queues ")[2] in ("default", "old")
    assert any(line.startswith(note) for line in verdict.notes) or not note
    assert bool(verdict.notes) == bool(note)


@pytest.mark.parametrize(
    ("node", "role", "is_there"),
    [
        (WEB2, None, True),
        (WEB2, "web", True),
        (WEB2, "batch", False),
        ("web-worker-1-surge@web2", "web", True),
        ("my-worker-worker-1@web2", "my-worker", True),
        (WEB1, None, False),
        ("celery@web2", None, False),  # no worker of the fleet
    ],
)
def test_workers_of_a_machine(node: str, role: str | None, is_there: bool) -> None:
    assert bool(nodes_on([node], ["web2", "web2.example.com"], role)) == is_there


def test_a_machine_that_has_left_the_inventory_is_reached_as_the_others_are() -> None:
    same = {"ssh_user": "ops", "_sudo": True}
    web1 = {**same, "ssh_hostname": "192.0.2.1", "ssh_key": "a", "web_worker": {}}
    inventory = Inventory(
        {"broker1": {**same, "lan_address": "10.0.0.10", "ssh_hostname": "192.0.2.1"}, "web1": web1}, {}, frozenset()
    )
    assert with_host(inventory, "web2", "10.0.0.12").hosts["web2"] == {**same, "ssh_hostname": "10.0.0.12"}
    assert with_host(inventory, "web2", None).hosts["web2"] == same
    assert with_host(inventory, "web1", None) is inventory
    for address in ("10.0.0.10", "192.0.2.1", "web1"):
        with pytest.raises(FleetError, match="which is in the inventory"):
            with_host(inventory, "web2", address)


def test_a_worker_that_does_not_answer_and_has_left_the_inventory_consumes_nothing_that_is_known(fleet: Fleet) -> None:
    view = BrokerView(workers={WEB1: ("default",), "web-worker-1@web9": ()})
    assert judge(view, fleet, "web9", ["web-worker-1@web9"], frozenset()).error is None


def test_who_answers_a_rabbitmq_lives() -> None:
    report: RetiredWorkers = {"given_back": {}, "alive": {WEB2: None}, "refusal": ""}
    assert "goes back after the visibility timeout" in explain_alive(report)
    lives = f"{WEB2}: answers, so that it lives: the machine is not gone, and only SSH to it fails"
    assert explain_alive(report, has_leases=False) == lives
    assert explain_alive({**report, "alive": {}}, has_leases=False) == ""
