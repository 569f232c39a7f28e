"""A fault: what it affects, when its workers are back, and its account."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fleet.drill import report
from fleet.drill.context import RunningWorker, is_local
from fleet.drill.errors import DrillError
from fleet.drill.fault import affected_by, choose_placement, place_name
from fleet.drill.faults import FAULTS
from fleet.drill.ledger import Account, Entry, Sent
from fleet.drill.outcome import FaultOutcome
from fleet.drill.recovery import running_tasks, seconds_until_all_begun_again, seconds_until_all_started
from tests.unit.fleet_support import fleet_of, make_app, plan_of

WEB, BATCH, BATCH_2 = (
    RunningWorker("web1", "celery-web@1.service", "web-worker-1@w"),
    RunningWorker("batch1", "celery-batch@1.service", "batch-worker-1@b"),
    RunningWorker("batch1", "celery-batch@2.service", "batch-worker-2@b"),
)
WORKERS = [WEB, BATCH, BATCH_2]


@pytest.fixture
def _app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_app")
def test_the_role_that_a_fault_affects() -> None:
    web = {"queues": ["default"], "workload": "io"}
    plan = plan_of(fleet_of({"web": web, "batch": {"queues": ["batch"]}}))
    assert choose_placement(FAULTS["kill-worker"], plan, None).role == "batch"  # its tasks are long
    assert choose_placement(FAULTS["oom"], plan, None).role == "batch"  # web is gevent
    with pytest.raises(DrillError, match="no role gpu; the roles are web, batch"):
        choose_placement(FAULTS["oom"], plan, "gpu")
    with pytest.raises(DrillError, match="oom: not for role web, which means something for prefork alone"):
        choose_placement(FAULTS["oom"], plan, "web")


@pytest.mark.parametrize(
    ("name", "affected", "place"),
    [
        ("kill-child", [BATCH], "batch1:celery-batch@1.service"),
        ("reboot", [BATCH, BATCH_2], "batch1"),
        ("broker-restart", WORKERS, "broker1"),
    ],
)
def test_the_workers_that_a_fault_affects(name: str, affected: list[RunningWorker], place: str) -> None:
    assert affected_by(FAULTS[name], BATCH, WORKERS) == affected
    assert place_name(FAULTS[name], BATCH, "broker1") == place


def test_machines_over_loopback_are_a_lab() -> None:
    assert is_local({"web1": {"ssh_hostname": "127.0.0.1"}, "web2": {"ssh_hostname": "127.0.0.2"}})
    assert not is_local({"web1": {"ssh_hostname": "127.0.0.1"}, "web2": {}})
    assert not is_local({"web1": {"ssh_hostname": "10.0.0.1"}})


def test_the_tasks_that_run_on_a_worker() -> None:
    sent = [
        Sent(1, "long", "batch", 0.0),
        Sent(2, "long", "batch", 0.0),
        Sent(3, "io", "batch", 0.0),
        Sent(4, "long", "batch", 0.0),
    ]
    entries: list[Entry] = [
        (1, "start", 1.0, BATCH.node),
        (1, "end", 2.0, BATCH.node),
        (2, "start", 3.0, BATCH.node),
        (3, "start", 3.0, BATCH.node),
        (4, "start", 3.0, WEB.node),
    ]
    assert running_tasks(sent, entries, BATCH.node, "long") == {2}


def test_workers_are_back_when_each_has_started_a_task() -> None:
    entries: list[Entry] = [
        (1, "start", 9.0, WEB.node),
        (2, "start", 12.0, BATCH.node),
        (3, "start", 13.5, WEB.node),
        (4, "start", 15.0, WEB.node),
    ]
    nodes = [WEB.node, BATCH.node]
    assert seconds_until_all_started(entries, nodes, since=10.0) == 3.5
    assert seconds_until_all_started(entries, nodes, since=13.0) is None


def test_a_worker_whose_slots_are_all_taken_starts_none_and_is_not_late() -> None:
    entries: list[Entry] = [
        (1, "start", 8.0, BATCH.node),
        (2, "start", 9.0, BATCH.node),
        (1, "end", 38.0, BATCH.node),
        (3, "start", 39.5, BATCH.node),
    ]
    assert seconds_until_all_started(entries, [BATCH.node], since=10.0) == 29.5
    assert seconds_until_all_started(entries, [BATCH.node], since=10.0, slots={BATCH.node: 2}) == 1.5
    assert seconds_until_all_started(entries, [BATCH.node], since=10.0, slots={BATCH.node: 3}) == 29.5
    assert seconds_until_all_started(entries[:3], [BATCH.node], since=10.0, slots={BATCH.node: 2}) is None


def test_when_the_tasks_that_a_fault_interrupted_had_begun_again() -> None:
    entries: list[Entry] = [
        (1, "start", 1.0, BATCH.node),
        (1, "end", 2.0, BATCH.node),
        (2, "start", 3.0, BATCH.node),
        (3, "start", 3.0, BATCH.node),
        (3, "end", 12.0, BATCH.node),
        (4, "start", 4.0, BATCH.node),
        (4, "start", 15.5, BATCH.node),
        (5, "start", 16.0, WEB.node),
        (2, "start", 18.0, WEB.node),
    ]
    assert seconds_until_all_begun_again(entries, since=10.0) == 8.0
    assert seconds_until_all_begun_again(entries[:5], since=10.0) is None


def outcome(name: str, recovery: float | None, parked: bool | None = None, lease: int | None = 60) -> FaultOutcome:
    account = Account(120, 120, (), (7,), {"batch": 2.5})
    restarted = ("batch1:celery-batch@1.service",)
    return FaultOutcome(FAULTS[name], str(BATCH), 30.02, recovery, 31.04, restarted, parked, lease, 150, account)


@pytest.mark.parametrize(
    ("done", "problems"),
    [
        (outcome("kill-child", 4.2), []),
        (outcome("kill-child", 15.1), ["not every worker was back within 15 s"]),
        (outcome("kill-worker", 44.9), []),
        (outcome("kill-worker", None), ["not every worker was back within 45 s"]),
        (outcome("stall", 45.1), ["not every worker was back within 45 s"]),
        (outcome("reboot", 74.9), []),
        (outcome("reboot", 75.1), ["not every worker was back within 75 s"]),
        (outcome("kill-worker", 75.1, lease=None), []),
        (outcome("reboot", 150.1, lease=None), ["not every worker was back within 150 s"]),
        (outcome("oom", 4.2, parked=True), []),
        (outcome("oom", 4.2, parked=False), ["the task was not parked"]),
    ],
)
def test_what_was_not_as_expected(done: FaultOutcome, problems: list[str]) -> None:
    assert done.problems == problems


def test_the_outcome_as_json() -> None:
    assert outcome("oom", 4.21, parked=True).as_json() == {
        "drill": "oom",
        "at": "batch1:celery-batch@1.service",
        **{"sent": 120, "finished": 120, "lost": 0, "run_twice": 1, "longest_wait": {"batch": 2.5}, "longest_wait_s": 2.5},
        **{"fault_s": 30.0, "back_s": 4.2, "back_within_s": 15.0, "begun_again_s": 31.0},
        "restarted": ["batch1:celery-batch@1.service"],
        "parked": 1,
        "lease_s": 60,
        "visibility_timeout_s": 150,
        "silence_s": None,
        "went_wrong": None,
    }


def test_the_account_of_a_fault_is_printed() -> None:
    account: dict[str, Any] = {
        "drill": "oom",
        "at": "batch1:celery-batch@1.service",
        **{"sent": 120, "finished": 120, "lost": 0, "run_twice": 1, "longest_wait_s": 2.5},
        **{
            "fault_s": 30.0,
            "back_s": 4.2,
            "back_within_s": 15.0,
            "begun_again_s": 9.5,
            "restarted": [],
            "parked": 1,
            "lease_s": 60,
            "visibility_timeout_s": 150,
            "went_wrong": None,
        },
    }
    out = io.StringIO()
    report.show_fault(account, Console(file=out, width=200))
    text = out.getvalue()
    assert "120 sent, 120 finished, 0 lost, 1 run twice" in text
    assert "after 4.2 s (at most 15 s, lease 60 s); longest wait of a task 2.5 s" in text
    assert "begun again   the last of the tasks that it interrupted, 9.5 s after the fault" in text
    assert "restarted     nothing" in text
    assert "expected      yes" in text
    changed = {"back_s": None, "begun_again_s": None, "lease_s": None, "went_wrong": "not every worker was back"}
    report.show_fault({**account, **changed}, Console(file=out, width=200))
    assert "never (at most 15 s, no lease, visibility timeout 150 s); longest" in out.getvalue()
    assert "begun again   no task" in out.getvalue()
    assert "expected      not every worker was back" in out.getvalue()
