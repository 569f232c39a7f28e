"""Where the rate of a benchmark begins."""

import pytest

from fleet.capacity.bench.arrivals import Work
from fleet.capacity.bench.run import first_rate
from fleet.capacity.bench.target import Target


@pytest.mark.parametrize(
    ("work", "slots", "cores", "rate"),
    [
        ("noop", 4, 2, 40.0),
        ("io", 200, 2, 40.0),  # a slow machine that does thirty a second would be at 1,200 of them for minutes
        ("io", 4, 2, 24.0),
        ("cpu", 200, 2, 12.0),
    ],
)
def test_it_begins_with_what_a_slow_machine_gets_done(work: Work, slots: int, cores: int, rate: float) -> None:
    target = Target("web", ("web-1@a", "web-2@a"), slots, cores)
    assert first_rate(target, work, 0.05) == pytest.approx(rate)
