"""The account of a ledger, and the load of a drill."""

from itertools import islice, pairwise
from pathlib import Path

import pytest

from fleet.drill.ledger import Sent, account
from fleet.drill.load import ETA_SECONDS, mix, schedule
from tests.unit.fleet_support import fleet_of, make_app, plan_of

SENT = [Sent(1, "io", "default", 10.0), Sent(2, "cpu", "batch", 11.0), Sent(3, "eta", "default", 31.0)]


def test_a_task_that_did_not_end_is_lost_and_a_task_that_began_twice_ran_twice() -> None:
    done = account(SENT, [(1, "start", 10.5, "a"), (1, "end", 10.6, "a"), (2, "start", 15.0, "b"), (2, "start", 40.0, "c")])
    assert (done.sent, done.finished, done.lost, done.run_twice) == (3, 1, (2, 3), (2,))
    assert done.longest_wait == {"default": 0.5, "batch": 4.0}
    values = done.as_json()
    assert (values["lost"], values["run_twice"], values["longest_wait_s"]) == (2, 1, 4.0)


def test_a_phase_has_the_tasks_that_were_due_in_it() -> None:
    done = account(SENT, [(3, "start", 31.2, "a"), (3, "end", 31.3, "a")], since=20, until=40)
    assert (done.sent, done.finished, done.lost) == (1, 1, ())
    assert done.longest_wait["default"] == pytest.approx(0.2)


def test_nothing_sent_is_nothing_lost() -> None:
    assert account([], []).as_json() == {
        "sent": 0,
        "finished": 0,
        "lost": 0,
        "run_twice": 0,
        "longest_wait": {},
        "longest_wait_s": 0.0,
    }


def test_the_load_is_half_of_what_the_slots_can_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    plan = plan_of(fleet_of({"web": {"queues": ["default", "priority"], "workload": "io"}, "batch": {"queues": ["batch"]}}))
    kinds = mix(plan)
    assert {kind.name for kind in kinds} == {"io", "eta", "cpu", "long"}
    for role, queue in (("web", "default"), ("batch", "batch")):
        slots = sum(place.sized.slots for place in plan.roles[role])
        busy = sum(kind.seconds / kind.every for kind in kinds if queue in kind.queues)
        assert busy <= slots * 0.75
    first = list(islice(schedule(kinds), 400))
    assert [due for due, _, _ in first] == sorted(due for due, _, _ in first)
    assert {queue for _, _, queue in first} == {"default", "priority", "batch"}
    for kind in kinds:
        times = [due for due, other, _ in first if other == kind]
        assert times, kind
        assert all(later - sooner == pytest.approx(kind.every) for sooner, later in pairwise(times))
    assert {kind.eta for kind in kinds} == {0.0, ETA_SECONDS}


def test_tasks_that_wait_for_their_eta_leave_workers_of_a_rabbitmq_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, each is one of the messages that a worker may hold."""
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    batch = {"queues": ["batch"], "concurrency": 2, "instances": 1, "memory_per_slot": "100M"}
    plan = plan_of(fleet_of({"batch": batch}, broker={"kind": "rabbitmq"}, result_backend="none"))
    (eta,) = [kind for kind in mix(plan) if kind.name == "eta"]
    assert eta.eta / eta.every == pytest.approx(0.2 * 4)
