"""The search for how much workers carry."""

import pytest

from fleet.capacity.bench.account import Step
from fleet.capacity.bench.arrivals import Load
from fleet.capacity.bench.search import CLOSE, MOST_STEPS, Knee, next_rate


def step(rate: float, capacity: float, late: float = 0.0, lost: int = 0) -> Step:
    """Of workers that carry so much: above it, tasks wait."""
    wait = 0.01 if rate <= capacity else 3.0
    waits = {0.5: wait, 0.95: wait, 0.99: wait}
    return Step(Load("io", 0.05, rate, 100), 100, lost, 0, min(rate, capacity), waits, waits, 0.0, late, {})


def search(first: float, capacity: float, most_sent: float = 1e9) -> tuple[Knee, int]:
    steps: list[Step] = []
    while not isinstance(rate := next_rate(first, steps, 0.5), Knee):
        steps.append(step(rate, min(capacity, most_sent), late=0.0 if rate <= most_sent else 1.0))
    return rate, len(steps)


@pytest.mark.parametrize(("first", "capacity"), [(50, 1234), (50, 51), (50, 3), (50, 9000), (0.5, 0.7)])
def test_it_finds_what_workers_carry(first: float, capacity: float) -> None:
    knee, steps = search(first, capacity)
    assert knee.limit == "workers"
    assert capacity / CLOSE <= knee.rate <= capacity
    assert steps < MOST_STEPS


def test_a_producer_that_is_late_is_the_limit() -> None:
    knee, _ = search(50, 100_000, most_sent=2000)
    assert knee.limit == "producer"
    assert 2000 / CLOSE <= knee.rate <= 2000


def test_workers_that_carry_nothing_end_the_search() -> None:
    knee, steps = search(50, 0)
    assert (knee.rate, steps) == (0, MOST_STEPS)


def test_a_task_that_is_lost_is_no_success() -> None:
    lost = step(50, 100, lost=1)
    assert next_rate(50, [lost], 0.5) != pytest.approx(80)
