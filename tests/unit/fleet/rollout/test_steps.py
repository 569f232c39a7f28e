"""Who restarts when."""

from pathlib import Path
from typing import Any

import pytest

from fleet.plan.instance import Instance, instances_on
from fleet.plan.plan import Plan
from fleet.rollout.steps import Step, limit, plan_steps
from tests.unit.fleet_support import fleet_of, make_app, plan_of

WEB: dict[str, Any] = {"queues": ["default"], "workload": "io", "instances": 2}
BATCH: dict[str, Any] = {"queues": ["batch"], "workload": "cpu"}


@pytest.fixture(autouse=True)
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)


def plan(hosts: int = 4, **roles: Any) -> Plan:
    return plan_of(fleet_of(roles or {"web": WEB, "batch": BATCH}, hosts_a_role=hosts))


def rolled(one: Plan, role: str | None = None) -> tuple[Step, ...]:
    everyone = instances_on(one, one.fleet.hosts)
    return plan_steps([each for each in everyone if role in (None, each.role)], (), one)


def names(step: Step) -> list[str]:
    return [str(one) for one in step.instances]


def test_one_of_each_role_goes_first() -> None:
    first = rolled(plan())[0]
    assert first.canary
    assert names(first) == ["web1:web@1", "batch1:batch@1"]


def test_a_role_of_one_has_a_canary_too() -> None:
    assert [(names(step), step.canary) for step in rolled(plan(1, batch=BATCH))] == [(["batch1:batch@1"], True)]


def test_then_batches_of_at_most_a_quarter() -> None:
    found = rolled(plan(), "web")
    assert [len(step.instances) for step in found] == [1, 2, 2, 2, 1]
    assert [step.canary for step in found] == [True, False, False, False, False]


def test_everyone_restarts_once() -> None:
    one = plan()
    everyone = [each for step in rolled(one) for each in step.instances]
    assert len(everyone) == len(set(everyone)) == 12
    assert set(everyone) == set(instances_on(one, one.fleet.hosts))


def test_only_those_that_differ() -> None:
    one = plan()
    chosen = [Instance("web2", "web", 1), Instance("batch3", "batch", 1)]
    (step,) = plan_steps(chosen, (), one)
    assert step.instances == tuple(chosen)
    assert plan_steps((), (), one) == ()


def test_a_queue_keeps_its_consumers() -> None:
    found = rolled(plan(3, batch={**BATCH, "max_unavailable": 3, "min_consumers": 2, "canary": False}))
    assert [len(step.instances) for step in found] == [1, 1, 1]
    assert all(step.bare == () for step in found)


def test_roles_that_share_a_queue_take_turns() -> None:
    found = rolled(plan(1, web={**WEB, "queues": ["all"], "instances": 1}, batch={**BATCH, "queues": ["all", "batch"]}))
    assert [names(step) for step in found] == [["web1:web@1"], ["batch1:batch@1"]]
    assert [step.bare for step in found] == [(), ("batch",)]


def test_the_last_consumer_is_told() -> None:
    (step,) = rolled(plan(1, batch=BATCH))
    assert (names(step), step.bare) == (["batch1:batch@1"], ("batch",))
    (step,) = rolled(plan(1, batch={**BATCH, "min_consumers": 0}))
    assert step.bare == ()


def test_who_did_not_run_starts_after_the_canary() -> None:
    one = plan(3, batch=BATCH)
    found = plan_steps([Instance(f"batch{n}", "batch", 1) for n in (1, 2)], [Instance("batch3", "batch", 1)], one)
    assert [names(step) for step in found] == [["batch1:batch@1"], ["batch3:batch@1"], ["batch2:batch@1"]]
    (step,) = plan_steps((), instances_on(one, one.fleet.hosts), one)
    assert len(step.instances) == 3


@pytest.mark.parametrize(("given", "total", "wanted"), [("25%", 8, 2), ("25%", 3, 1), ("100%", 3, 3), (2, 8, 2), (9, 2, 9)])
def test_how_many_at_once(given: Any, total: int, wanted: int) -> None:
    assert limit(plan(1, batch={**BATCH, "max_unavailable": given}).roles["batch"][0].sized.worker, total) == wanted


def test_a_hundred_hosts_are_quickly_in_steps() -> None:
    found = rolled(plan(100, batch={**BATCH, "max_unavailable": 5, "canary": False}))
    assert [len(step.instances) for step in found] == [5] * 20
