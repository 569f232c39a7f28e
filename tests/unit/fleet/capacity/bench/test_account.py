"""The account of a step."""

import pytest

from fleet.capacity.bench.account import account
from fleet.capacity.bench.arrivals import Load


def test_each_task_is_accounted_for() -> None:
    due = {number: 100 + number / 10 for number in range(100)}
    entries = [(number, at + 0.2, at + 0.5, f"web-worker-{1 + number % 2}@a") for number, at in due.items() if number != 7]
    entries += [(3, 150, 151, "web-worker-2@a"), (5000, 1, 2, "of another step")]
    step = account(Load("io", 0.3, 10, 100), due, [0.0] * 98 + [0.4] * 2, entries)
    assert (step.finished, step.lost, step.run_twice) == (99, 1, 1)
    assert step.waits == pytest.approx({0.5: 0.2, 0.95: 0.2, 0.99: 0.2})
    assert step.latencies == pytest.approx({0.5: 0.5, 0.95: 0.5, 0.99: 0.5})
    assert step.throughput == pytest.approx(99 / 10.4)
    assert step.by_node == {"web-worker-1@a": 50, "web-worker-2@a": 50}
    assert step.late == 0
    assert step.behind == pytest.approx(0.2 / 9.9)


def test_nothing_has_ended() -> None:
    step = account(Load("io", 0.3, 10, 2), {1: 5.0, 2: 6.0}, [0.0, 0.0], [])
    assert (step.finished, step.lost, step.throughput) == (0, 2, 0.0)
