"""How many workers an objective takes."""

import math

import pytest

from fleet.capacity.demand import Demand, Service
from fleet.capacity.forecast import Objective, Overhead, forecast, workers_for
from fleet.capacity.simulation import Layout

HUNDRED = Demand(100, (Service(1, 1.0),))


@pytest.mark.parametrize(("rate", "workers"), [(100, 13), (96, 13), (95, 12), (0.5, 1)])
def test_workers_that_keep_up(rate: float, workers: int) -> None:
    """Slots that are busy all the time are too few: what comes by chance stays for ever."""
    assert workers_for(Demand(rate, (Service(1, 1.0),)), 8) == workers


@pytest.mark.parametrize(("objective", "prefetch"), [(0.5, 1), (0.1, 1), pytest.param(0.5, 4, marks=pytest.mark.long)])
def test_the_fewest_workers_that_meet_an_objective(objective: float, prefetch: int) -> None:
    """One fewer breaks it."""
    workers = workers_for(HUNDRED, 8, Objective(objective), prefetch)
    waits = [forecast(HUNDRED, Layout(number, 8, 8 * prefetch)).waits[0.95] for number in (workers, workers - 1)]
    assert waits[0] <= objective < waits[1]


def test_what_a_worker_itself_takes_counts() -> None:
    short = Demand(100, (Service(1, 0.02, 0),))
    layout, overhead = Layout(2, 2, 2), Overhead(begins=0.01, between=0.01)
    ideal, real = forecast(short, layout), forecast(short, layout, overhead=overhead)
    assert ideal.utilisation == pytest.approx(0.5)
    assert real.utilisation == pytest.approx(0.75)
    longer = forecast(Demand(100, (Service(1, 0.03, 0),)), layout)
    assert real.waits == {share: pytest.approx(wait + 0.01) for share, wait in longer.waits.items()}
    assert workers_for(short, 2, Objective(0.03), overhead=overhead) > workers_for(short, 2, Objective(0.03))
    assert short.held(0.01).spread == 0
    assert Demand(1, (Service(1, 2.0, 1),)).held(2.0).spread == pytest.approx(0.25), "the same variance, of twice the mean"


def test_too_few_workers_have_no_end_of_waiting() -> None:
    few = forecast(HUNDRED, Layout(12, 8, 8))
    assert few.utilisation == pytest.approx(100 / 96)
    assert (few.mean, few.meets(Objective(1e9))) == (math.inf, False)
