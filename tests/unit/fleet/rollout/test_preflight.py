"""Whether a rollout may begin, by what waits in the queues."""

import json
from pathlib import Path

import pytest

from fleet.rollout.preflight import discarded_tasks, judge, parse, queues_of
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
    verdict = judge(report({"default": {"shop.gone": 3}}), discarded_tasks(" shop.gone, "))
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
    assert discarded_tasks(None) == frozenset()
