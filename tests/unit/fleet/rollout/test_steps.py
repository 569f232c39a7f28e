"""Who restarts when."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.plan.instance import Instance
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


def rolled(current: Plan, role: str | None = None) -> tuple[Step, ...]:
    everyone = current.instances
    return plan_steps([each for each in everyone if role in (None, each.role)], (), current)


def instance(current: Plan, host: str, role: str, number: int = 1) -> Instance:
    return next(each for each in current.instances if (each.host, each.role, each.number) == (host, role, number))


def names(step: Step) -> list[str]:
    return [str(instance) for instance in step.instances]


def test_one_of_each_role_goes_first() -> None:
    first = rolled(plan())[0]
    assert first.canary
    assert names(first) == ["web1:web@1", "batch1:batch@1"]


def test_a_role_of_one_has_a_canary_too() -> None:
    assert [(names(step), step.canary) for step in rolled(plan(1, batch=BATCH))] == [(["batch1:batch@1"], True)]


def test_then_batches_of_at_most_a_quarter() -> None:
    steps = rolled(plan(), "web")
    assert [len(step.instances) for step in steps] == [1, 2, 2, 2, 1]
    assert [step.canary for step in steps] == [True, False, False, False, False]


def test_everyone_restarts_once() -> None:
    current = plan()
    everyone = [each for step in rolled(current) for each in step.instances]
    assert len(everyone) == len(set(everyone)) == 12
    assert set(everyone) == set(current.instances)


def test_only_those_that_differ() -> None:
    current = plan()
    chosen = [instance(current, "web2", "web"), instance(current, "batch3", "batch")]
    (step,) = plan_steps(chosen, (), current)
    assert step.instances == tuple(chosen)
    assert plan_steps((), (), current) == ()


def test_a_queue_keeps_its_consumers() -> None:
    steps = rolled(plan(3, batch={**BATCH, "max_unavailable": 3, "min_consumers": 2, "canary": False}))
    assert [len(step.instances) for step in steps] == [1, 1, 1]
    assert all(step.underserved == () for step in steps)


def test_roles_that_share_a_queue_take_turns() -> None:
    steps = rolled(plan(1, web={**WEB, "queues": ["all"], "instances": 1}, batch={**BATCH, "queues": ["all", "batch"]}))
    assert [names(step) for step in steps] == [["web1:web@1"], ["batch1:batch@1"]]
    assert [step.underserved for step in steps] == [(), ("batch",)]


def test_the_last_consumer_is_told() -> None:
    (step,) = rolled(plan(1, batch=BATCH))
    assert (names(step), step.underserved) == (["batch1:batch@1"], ("batch",))
    (step,) = rolled(plan(1, batch={**BATCH, "min_consumers": 0}))
    assert step.underserved == ()


def test_who_did_not_run_starts_after_the_canary() -> None:
    current = plan(3, batch=BATCH)
    steps = plan_steps([instance(current, f"batch{n}", "batch") for n in (1, 2)], [instance(current, "batch3", "batch")], current)
    assert [names(step) for step in steps] == [["batch1:batch@1"], ["batch3:batch@1"], ["batch2:batch@1"]]
    (step,) = plan_steps((), current.instances, current)
    assert len(step.instances) == 3


@pytest.mark.parametrize(("given", "total", "expected"), [("25%", 8, 2), ("25%", 3, 1), ("100%", 3, 3), (2, 8, 2), (9, 2, 9)])
def test_how_many_at_once(given: Any, total: int, expected: int) -> None:
    assert limit(plan(1, batch={**BATCH, "max_unavailable": given}).roles["batch"][0].sized.worker, total) == expected


def test_a_hundred_hosts_are_quickly_in_steps() -> None:
    steps = rolled(plan(100, batch={**BATCH, "max_unavailable": 5, "canary": False}))
    assert [len(step.instances) for step in steps] == [5] * 20


def test_an_instance_goes_by_its_own_hosts_settings() -> None:
    """A host may override its group's settings; nothing about it may be read from another host's."""
    fleet = fleet_of({"web": WEB})
    host = fleet.hosts["web2"]
    own = host.workers["web"].model_copy(
        update={"queues": ["own"], "max_unavailable": "100%", "canary": False, "min_consumers": 0}
    )
    fleet = replace(fleet, hosts={**fleet.hosts, "web2": replace(host, workers={"web": own})})
    current = plan_of(fleet)
    assert instance(current, "web2", "web").queues == ("own",)
    assert current.min_consumers("own") == 0
    assert current.min_consumers("default") == 1
    steps = rolled(current)
    assert [(names(step), step.canary) for step in steps] == [
        (["web1:web@1"], True),
        (["web1:web@2"], False),
        (["web2:web@1", "web2:web@2"], False),
    ]
