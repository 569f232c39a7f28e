"""When the tasks of a benchmark come."""

import pytest

from fleet.capacity.bench.arrivals import Load, due


def test_they_come_by_chance_at_the_rate_and_the_same_each_time() -> None:
    load = Load("io", 0.05, 100, 20_000)
    times = due(load, 3)
    assert times == sorted(times) == due(load, 3)
    assert times != due(load, 4)
    assert times[-1] == pytest.approx(200, rel=0.05)


def test_all_at_once() -> None:
    assert due(Load("noop", 0, 0, 3)) == [0, 0, 0]
