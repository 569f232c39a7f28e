"""Whether a rollout may begin, by what waits in the queues."""

import json
from pathlib import Path

import pytest

from fleet.broker.view import BrokerView
from fleet.rollout.preflight import (
    Preflight,
    judge,
    judge_broker,
    judge_leftovers,
    judge_queues,
    judge_workers,
    names_in,
    parse,
    queues_of,
    units_alive,
)
from fleet_node.protocol import TASKS_MARK, UnregisteredTasks
from tests.unit.fleet_support import fleet_of, make_app, plan_of


def report(unregistered: dict[str, dict[str, int]], left: int = 0) -> UnregisteredTasks:
    return {"unregistered": unregistered, "looked_at": 9, "not_looked_at": left}


def test_nothing_unknown_waits() -> None:
    assert judge(report({}), frozenset()) == judge(parse([TASKS_MARK + json.dumps(report({}))]), frozenset())
    assert judge(report({}), frozenset()).error is None


def test_what_waits_and_is_unknown_is_named_with_its_queue() -> None:
    verdict = judge(report({"default": {"shop.gone": 3}, "in flight": {"shop.old": 1}}), frozenset())
    assert verdict.error is not None
    assert "3 × shop.gone in default; 1 × shop.old in in flight" in verdict.error
    assert verdict.error.endswith("--data discard_tasks=shop.gone,shop.old")


def test_what_may_be_parked_stops_nothing_and_is_noted() -> None:
    verdict = judge(report({"default": {"shop.gone": 3}}), names_in(" shop.gone, "))
    assert verdict == judge(report({"default": {"shop.gone": 3}}), frozenset({"shop.gone"}))
    assert (verdict.error, verdict.notes) == (None, ("to be parked, as discard_tasks says: 3 × shop.gone in default",))


def test_what_was_not_looked_at_is_noted() -> None:
    (note,) = judge(report({}, left=5), frozenset()).notes
    assert note == "5 waiting tasks were not looked at (9 were): whether this release has them is not known"


def test_an_output_without_a_report_is_refused() -> None:
    with pytest.raises(ValueError, match="no report"):
        parse(["Traceback"])


def test_queues_are_each_hosts_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    workers = {"web": {"queues": ["default"], "workload": "io"}, "batch": {"queues": ["batch"]}}
    assert queues_of(plan_of(fleet_of(workers)).instances) == ["batch", "default"]
    assert names_in(None) == frozenset()


NOBODY: frozenset[str] = frozenset()


def test_a_queue_that_no_worker_would_consume_any_more_is_named_with_its_tasks() -> None:
    view = BrokerView(waiting={"priority": 3, "default": 9}, held={"priority": 1}, consumed=("default", "priority"))
    verdict = judge_queues(view, ["default"], NOBODY)
    assert verdict.error is not None
    assert "3 tasks wait in priority, and workers hold 1 of it." in verdict.error
    assert verdict.error.endswith("--data abandon_queues=priority")
    assert judge_queues(view, ["default", "priority"], NOBODY) == Preflight(None)
    left = judge_queues(view, ["default"], names_in("priority"))
    assert left.error is None
    assert left.notes[0].startswith("left without a consumer, as abandon_queues says: 3 tasks wait in priority")


def test_tasks_that_a_worker_holds_of_a_queue_strand_with_it() -> None:
    """Those with an ETA go back to it when the worker stops."""
    assert judge_queues(BrokerView(held={"later": 2}, consumed=("later",)), [], NOBODY).error is not None


def test_a_queue_that_no_worker_consumed_before_is_noted() -> None:
    verdict = judge_queues(BrokerView(waiting={"misc": 4}), ["default"], NOBODY)
    assert verdict == Preflight(None, ("4 tasks wait in misc, and no worker of the fleet consumes it",))


@pytest.mark.parametrize(
    ("node", "queues", "refused"),
    [
        ("web-worker-1@web1", ("default",), False),
        ("old-worker-1@web1", ("old",), False),  # the run ends it
        ("web-worker-1@web2", ("default",), True),
        ("web-worker-1@web2", (), True),  # it is alive, and too busy to answer
        ("celery@laptop", ("default",), False),
        ("gone-worker-1@web2", ("gone",), True),  # the last of its role
        ("celery@elsewhere", ("mail",), False),
    ],
)
def test_a_worker_on_a_machine_that_has_left_the_inventory(node: str, queues: tuple[str, ...], refused: bool) -> None:
    verdict = judge_workers(BrokerView(workers={node: queues}), ["default"], ["web1"], NOBODY)
    assert (verdict.error is not None) == refused
    assert not refused or (verdict.error or "").endswith(f"--data leave_workers={node}")
    assert not refused or "fleet retire INVENTORY web2" in (verdict.error or "")
    assert bool(verdict.notes) == (node == "celery@laptop")
    for left in (node, f"*@{node.partition('@')[2]}"):
        assert judge_workers(BrokerView(workers={node: queues}), ["default"], ["web1"], frozenset({left})).error is None


def test_no_run_is_refused_for_a_worker_while_it_is_not_known_what_machines_call_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inventory may have addresses, and with --limit most machines are not asked."""
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    plan = plan_of(fleet_of({"web": {"queues": ["default"], "workload": "io"}}))
    view = BrokerView(workers={"web-worker-1@ip-10-0-0-11": ("default",)})
    (note,) = judge_broker(view, plan, ["web1", "web2"]).notes
    assert note.startswith("perhaps not in the inventory: web-worker-1@ip-10-0-0-11 consumes default.")
    assert judge_broker(view, plan, ["web1", "web2"]).error is None
    assert judge_broker(view, plan, ["web1", "web2"], all_known=True).error is not None


@pytest.mark.parametrize(
    ("units", "note"),
    [
        ({"web1": ["celery-web@1.service", "fleet.target", "celery-web@1-surge.service"], "broker1": []}, ""),
        (
            {"web1": ["celery-web@1.service", "celery-old@1.service"]},
            "1 unit that no role of its machine asks for any more is drained and removed by a deploy "
            "(web1: celery-old@1.service)",
        ),
        (
            {"web2": ["celery-web@2.service"], "broker1": ["celery-web@1.service"]},
            "2 units that no role of their machine asks for any more are drained and removed by a deploy "
            "(broker1: celery-web@1.service; web2: celery-web@2.service)",
        ),
    ],
)
def test_units_that_no_role_asks_for_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, units: dict[str, list[str]], note: str
) -> None:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    plan = plan_of(fleet_of({"web": {"queues": ["default"], "workload": "io", "instances": 1}}))
    assert judge_leftovers(units, plan) == Preflight(None, (note,) if note else ())


def test_the_units_of_workers_that_are_alive() -> None:
    nodes = ("web-worker-1@web1", "old-worker-2@web1", "web-worker-1-surge@web1", "web-worker-1@web9", "celery@web1")
    view = BrokerView(workers=dict.fromkeys(nodes, ()))
    units = ["celery-web@1.service", "celery-old@2.service", "celery-web@1-surge.service"]
    assert units_alive(view, ["web1.example.com"]) == {"web1.example.com": units}
