"""How steps went: what machines printed, what every worker runs then, and what the history keeps of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.rollout.history import explain_failure
from fleet.rollout.result import LONGEST_NOTE, LOST, HostResult, Results, parse
from fleet.rollout.steps import Step, plan_steps
from fleet.state.observed import ObservedMachine, RunningUnit
from fleet_node.protocol import STEP_MARK
from tests.unit.fleet_support import fleet_of, make_app, plan_of

WEB: dict[str, Any] = {"queues": ["default"], "workload": "io", "instances": 1}
DRAIN = {"outcome": "idle", "seconds": 2.0, "running": {}, "reserved": 0, "eta": 0, "summary": "drained in 2.0 s"}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    return plan_of(fleet_of({"web": WEB}, hosts_a_role=3))


def printed(ok: bool, units: dict[str, Any], notes: list[str] | None = None, **more: Any) -> list[str]:
    result = {"ok": ok, "put_back": False, "units": units, "notes": notes or [], "seconds": {"restart": 3.5}, **more}
    return ["something else", STEP_MARK + json.dumps(result)]


def rollout(plan: Plan) -> tuple[tuple[Step, ...], Results]:
    """A canary on web1, then web2 and web3 one after the other; web3 does not run yet."""
    unit = RunningUnit(active=True, enabled=True, stale=False, release="old")
    observed = {f"web{number}": ObservedMachine(units={"celery-web@1.service": unit}) for number in (1, 2)}
    observed["web3"] = ObservedMachine()
    steps = plan_steps(plan.instances, (), plan)
    results = Results(steps, observed)
    for step in steps:
        for host in step.hosts:
            results.expect(step, host, "new-release")
    return steps, results


def states(results: Results) -> dict[str, tuple[str, str]]:
    return {host: (release, state) for host, _, release, state in results.table()}


def test_a_step_that_went_well(plan: Plan) -> None:
    units = {"celery-web@1.service": {"state": "new", "drain": DRAIN, "surged": True}}
    result = parse(printed(True, units), [])
    assert result.ok
    assert result.lines == [
        "celery-web@1.service: drained in 2.0 s, while a second one worked in its place",
        "took: drained and started 3.5 s",
    ]
    assert result.as_record()["units"] == {
        "celery-web@1.service": {"state": "new", "drain": "drained in 2.0 s, while a second one worked in its place"}
    }


def test_a_worker_from_before_the_protocol_has_drained_too() -> None:
    old = {name: value for name, value in DRAIN.items() if name != "summary"} | {"told": "drained in 9 s"}
    result = parse(printed(True, {"celery-web@1.service": {"state": "new", "drain": old}}), [])
    assert result.lines[0] == "celery-web@1.service: drained in 9 s"


@pytest.mark.parametrize(
    ("stderr", "note"),
    [
        ([], "contact was lost; what the machine had begun it ends by itself"),
        (["/usr/bin/python3: No module named fleet_node.step"], "run deploy.py first"),
        (["a", "b", "c", "Permission denied"], "Permission denied"),
    ],
)
def test_a_machine_that_reports_nothing_has_failed(stderr: list[str], note: str) -> None:
    result = parse([], stderr)
    assert (result.ok, result.units) == (False, {})
    assert note in result.notes[-1]


def test_all_is_well_when_every_worker_is_new(plan: Plan) -> None:
    steps, results = rollout(plan)
    assert states(results) == {"web1": ("old", "untouched"), "web2": ("old", "untouched"), "web3": ("-", "not started")}
    assert not results.began
    for step in steps:
        for host in step.hosts:
            assert not results.all_well
            results.record(step, host, HostResult(True, [], []))
    assert results.all_well
    assert set(states(results).values()) == {("new-release", "new")}


def test_a_failed_canary_says_who_runs_what_and_why(plan: Plan) -> None:
    steps, results = rollout(plan)
    units = {"celery-web@1.service": {"state": "put back", "why": "does not consume default"}}
    why = ["celery-web@1.service does not consume default", "put back as it was: celery-web@1.service"]
    results.record(steps[0], "web1", parse(printed(False, units, why, put_back=True), []))
    assert results.failed_hosts(steps[0]) == ["web1"]
    assert states(results)["web1"] == ("old", "put back")
    assert results.reasons() == [f"the canary failed on web1: {why[0]}; {why[1]}"]
    first, *others = results.as_records()
    assert first["hosts"]["web1"]["notes"] == why
    assert first["hosts"]["web1"]["put_back"]
    assert all(step["hosts"] == {} for step in others)
    entry: Any = {"who": "a", "pid": 1, "at": "", "what": "deploy.py", "outcome": "failed", "steps": [first, *others]}
    assert any(why[0] in line for line in explain_failure(entry))


def test_contact_that_is_lost_leaves_open_what_runs(plan: Plan) -> None:
    steps, results = rollout(plan)
    results.record(steps[0], "web1", parse([], []))
    assert states(results)["web1"] == ("old or new-release", LOST)


@pytest.mark.parametrize(("succeeded", "state"), [(True, ("old", "put back")), (False, ("-", "down"))])
def test_a_host_that_is_put_back_with_the_others(plan: Plan, succeeded: bool, state: tuple[str, str]) -> None:
    steps, results = rollout(plan)
    results.record(steps[0], "web1", HostResult(True, [], []))
    results.record_put_back(steps[0], "web1", succeeded)
    assert states(results)["web1"] == state
    assert results.as_records()[0]["hosts"]["web1"]["put_back"] is succeeded


def test_the_history_keeps_no_more_than_the_end_of_a_journal() -> None:
    journal = f"web@1 did not come up:\n{'x' * 100_000}\nRuntimeError: the reason"
    (note,) = HostResult(False, [], [journal]).as_record()["notes"]
    assert len(note) == LONGEST_NOTE
    assert note.startswith("web@1 did not come up:\nxxx")
    assert note.endswith("xxx\nRuntimeError: the reason")


def test_an_instance_is_itself_whatever_its_size(plan: Plan) -> None:
    instance = plan.instances[0]
    assert {Instance(instance.host, instance.role, instance.number, plan.instances[1].sized)} == {instance}


def test_the_history_says_that_a_host_could_not_be_put_back_with_the_others(plan: Plan) -> None:
    steps, results = rollout(plan)
    results.record(steps[0], "web1", HostResult(True, [], [], {"celery-web@1.service": {"state": "new"}}))
    results.record_put_back(steps[0], "web1", False)
    assert results.as_records()[0]["hosts"]["web1"]["units"] == {"celery-web@1.service": {"state": "down", "drain": None}}
