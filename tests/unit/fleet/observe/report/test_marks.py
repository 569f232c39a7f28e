"""What counts as a fault of a fleet, and what a rollout did."""

from typing import Any

import pytest

from fleet.observe.report.marks import Fault, Point, drop_planned, faults_of, rollout_marks, spans, worker_marks
from fleet.observe.report.timeline import Mark


@pytest.mark.parametrize(
    ("points", "faults"),
    [
        ([Point(0, True), Point(10, True)], []),
        ([Point(0, True), Point(10, False), Point(20, False), Point(30, True)], [(10, 30, "silent")]),
        ([Point(0, False), Point(10, False)], [(0, 10, "silent")]),
        ([Point(0, True), Point(10, None), Point(20, True)], []),
        ([Point(0, False), Point(10, None), Point(20, True)], [(0, 20, "silent")]),
        ([Point(0, True, 5.0), Point(10, True, 5.4)], []),
        ([Point(0, True, -50.0), Point(10, True, 8.0)], [(8, None, "restarted")]),
        ([Point(0, True, -50.0), Point(10, False), Point(20, True, 18.0)], [(10, 20, "replaced")]),
        ([Point(0, True, None, 0), Point(10, True, None, None), Point(20, True, None, 2)], [(20, None, "killed")]),
        ([Point(0, True, None, None), Point(10, True, None, 2)], []),
        ([], []),
    ],
)
def test_faults_of_a_worker(points: list[Point], faults: list[tuple[float, float | None, str]]) -> None:
    assert [(fault.at, fault.until, fault.what) for fault in faults_of("n", points)] == faults


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0, False), (10, True), (20, False)], [(10, 20)]),
        ([(0, True), (10, True)], [(0, 10)]),
        ([(0, True), (10, None), (20, True), (30, False)], [(0, 0), (20, 30)]),
        ([(0, None), (10, False)], []),
    ],
)
def test_times_in_which_something_is_so(points: list[tuple[float, bool | None]], expected: list[tuple[float, float]]) -> None:
    assert list(spans(points)) == expected


def test_the_same_fault_of_several_workers_is_one_mark() -> None:
    faults = [Fault(100 + number, 200, "silent", f"web-worker-1@web{number}") for number in range(5)]
    marks = worker_marks([*faults, Fault(900, 910, "silent", "other")])
    assert [(mark.at, mark.until, mark.text) for mark in marks] == [
        (100, 200, "5 workers: web-worker-1@web0, web-worker-1@web1, web-worker-1@web2 and 2 more gave no sign of life"),
        (900, 910, "other gave no sign of life"),
    ]


def test_what_a_rollout_does_is_no_fault() -> None:
    rollout = Mark(100, 200, "rollout", "deploy.py")
    during, killed, long, later = (
        worker_marks([fault])[0]
        for fault in (
            Fault(110, 150, "silent", "n"),
            Fault(110, None, "killed", "n"),
            Fault(110, 900, "silent", "n"),
            Fault(500, None, "restarted", "n"),
        )
    )
    assert drop_planned([during, killed, long, later], [rollout]) == [killed, long, later]


def entry(**more: Any) -> dict[str, Any]:
    return {"who": "ops@desk", "what": "deploy.py", "at": "2026-11-29T19:02:26Z", "outcome": "done", "seconds": 60, **more}


def test_rollouts_are_those_of_the_time() -> None:
    found = rollout_marks([entry(releases={"3.11": "fb10"}), entry(outcome="failed"), entry(at="yesterday"), {}], 0, 1e12)
    at = found[0].at
    assert [(mark.text, mark.failed, mark.until) for mark in found] == [
        ("deploy.py by ops@desk: done, release fb10", False, at + 60),
        ("deploy.py by ops@desk: failed", True, at + 60),
    ]
    assert rollout_marks([entry()], at + 61, at + 100) == []
    assert rollout_marks([entry()], at - 100, at - 1) == []
    assert len(rollout_marks([entry()], at + 30, at + 100)) == 1
