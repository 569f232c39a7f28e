"""What workers have counted, added up: it never goes back, and nothing of it is lost."""

from typing import Any

import pytest

from fleet_exporter import totals as module
from fleet_exporter.totals import FORGOTTEN, GENERIC, STALE, Key, Totals
from fleet_node.protocol import OTHER

KEY = Key("pay", "default", "web1")


def sign(task: str = "pay", machine: str = "web1", started_at: float = 0, **counts: Any) -> Any:
    entry = {"task": task, "queue": "default", **counts}
    return {"node": f"web-worker-1@{machine}", "started_at": started_at, "tasks": [entry]}


def shown(totals: Totals) -> dict[Key, Any]:
    return dict(totals.rows())


def begun(totals: Totals) -> int:
    return sum(counts.numbers["started"] for counts in shown(totals).values())


def test_what_was_before_the_exporter_is_not_counted() -> None:
    totals = Totals()
    totals.take({"a": sign(started=1000)}, 10)
    assert begun(totals) == 0
    totals.take({"a": sign(started=1003)}, 20)
    assert begun(totals) == 3


def test_a_series_begins_at_zero_and_loses_nothing() -> None:
    """Prometheus' increase() sees what is between two values, and no first value."""
    totals = Totals()
    totals.take({}, 10)
    totals.take({"a": sign(started=5, failed={"ValueError": 2}, runtime=[1.5, 0, 3], wait=[0.2, 5])}, 20)
    first = shown(totals)[KEY]
    assert (first.numbers["started"], dict(first.failed), sum(first.runtime), sum(first.wait)) == (0, {"ValueError": 0}, 0, 0)
    second = shown(totals)[KEY]
    assert (second.numbers["started"], dict(second.failed)) == (5, {"ValueError": 2})
    assert (second.runtime[:3], second.wait[:2]) == ([1.5, 0, 3], [0.2, 5])
    totals.take({"a": sign(started=6, failed={"ValueError": 2, "KeyError": 1})}, 30)
    assert dict(shown(totals)[KEY].failed) == {"ValueError": 2, "KeyError": 0}, "an exception begins at zero too"
    assert dict(shown(totals)[KEY].failed) == {"ValueError": 2, "KeyError": 1}


def test_counts_go_on_when_a_worker_is_replaced() -> None:
    totals = Totals()
    totals.take({"a": sign()}, 10)
    shown(totals)
    totals.take({"a": sign(started=7)}, 20)
    totals.take({"a": sign(started=9), "b": sign(started=1)}, 30)  # a has left, b is its successor
    assert begun(totals) == 10
    totals.take({"b": sign(started=2)}, 40)
    assert begun(totals) == 11


def test_a_sign_that_is_read_twice_counts_once() -> None:
    totals = Totals()
    totals.take({}, 10)
    for now in range(20, 60, 10):
        totals.take({"a": sign(started=4)}, now)
    shown(totals)
    assert begun(totals) == 4


def test_workers_that_have_gone_are_forgotten() -> None:
    totals = Totals()
    totals.take({"a": sign(started=4)}, 10)
    totals.take({}, 11 + FORGOTTEN)
    assert totals.plain(0)["workers"] == []


def test_a_worker_that_was_forgotten_and_is_there_again() -> None:
    """Cut off for long, or Redis lost its data: what it had counted before is not counted twice."""
    totals = Totals()
    totals.take({}, 0)
    totals.take({"a": sign(started=1000)}, 10)
    shown(totals)
    assert begun(totals) == 1000
    totals.take({}, 20 + FORGOTTEN)
    totals.take({"a": sign(started=1010)}, 40 + FORGOTTEN)
    assert begun(totals) == 1000
    totals.take({"a": sign(started=1013), "b": sign(started=2, started_at=45 + FORGOTTEN)}, 50 + FORGOTTEN)
    assert begun(totals) == 1005


def test_a_worker_that_has_lost_its_lease() -> None:
    """It is another holder then, and the same process: what it had counted before is not counted twice."""
    first, then = "web-worker-1@web1|boot|10|99|aaaa", "web-worker-1@web1|boot|10|99|bbbb"
    totals = Totals()
    totals.take({}, 0)
    totals.take({first: sign(started=1000)}, 10)
    shown(totals)
    totals.take({then: sign(started=1004), first: sign(started=1000)}, 20)
    totals = Totals.of(totals.plain(20), 30)
    totals.take({then: sign(started=1007)}, 40)
    assert begun(totals) == 1007
    totals.take({then: sign(started=1007), "web-worker-1@web1|boot|11|120|cccc": sign(started=2)}, 50)
    assert begun(totals) == 1009


def test_a_redis_that_comes_back_with_older_signs() -> None:
    totals = Totals()
    totals.take({"a": sign(started=10, failed={"ValueError": 1}, wait=[1.0, 10])}, 10)
    totals.take({"a": sign(started=100, failed={"ValueError": 4}, wait=[9.0, 100])}, 20)
    shown(totals)
    for older in (sign(started=60, failed={"ValueError": 2}, wait=[5.0, 60]), sign("other")):
        totals.take({"a": older}, 30)
        totals.take({"a": sign(started=101, failed={"ValueError": 4}, wait=[9.5, 101])}, 40)
        counts = shown(totals)[KEY]
        assert (counts.numbers["started"], counts.failed["ValueError"], counts.wait[:2]) == (91, 3, [8.5, 91])


@pytest.mark.parametrize(("away", "counted"), [(30.0, 5), (STALE + 1, 0)])
def test_a_restart_of_the_exporter(away: float, counted: int) -> None:
    """After a short one nothing is missing. After a long one counting begins at zero: a counter that went on from a file that is
    older than what Prometheus has seen would go back by a little, and Prometheus would take all of it for new."""
    totals = Totals()
    totals.take({"a": sign()}, 100)
    totals.take({"a": sign(started=3)}, 110)
    shown(totals)
    again = Totals.of(totals.plain(110), 110 + away)
    again.take({"a": sign(started=5)}, 110 + away)
    assert begun(again) == counted
    again.take({"a": sign(started=6)}, 120 + away)
    assert begun(again) == counted + 1


def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 4)
    totals = Totals()
    totals.take({}, 0)
    machines = {f"m{number}": sign("pay", f"m{number}", started=1) for number in range(5)}
    totals.take(machines, 1)
    assert totals.folded
    assert {key.machine for key in shown(totals)} == {GENERIC}
    tasks = {f"t{number}": sign(f"task{number}", started=1) for number in range(20)}
    totals.take(tasks, 2)
    assert len(shown(totals)) <= 5
    assert Key(OTHER, OTHER, GENERIC) in shown(totals)


def test_what_was_kept_may_be_anything() -> None:
    for content in ({}, {"at": 0, "folded": False, "counts": [[1]], "workers": []}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Totals.of(content, 0)
