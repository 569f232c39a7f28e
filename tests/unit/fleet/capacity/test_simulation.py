"""Simulated waits, against formulas that are exact. The same seed gives the same waits, so that no test fails by chance."""

import json
import math
from pathlib import Path

import pytest

from fleet.capacity.demand import Demand, Service
from fleet.capacity.queueing import erlang_c, mean_wait, wait_quantile
from fleet.capacity.simulation import Layout, quantile, replay, simulate

TASKS = 200_000
ORACLE = json.loads((Path(__file__).parent / "oracle.json").read_text())


def pooled(slots: int) -> Layout:
    return Layout(1, slots, slots)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.5), (1, 0.8), (8, 6.4), (50, 45)])
def test_exponential_tasks_wait_as_the_formulas_say(slots: int, load: float) -> None:
    demand = Demand(load / 0.1, (Service(1, 0.1),))
    waits = simulate(demand, pooled(slots), TASKS)[TASKS // 10 :]
    assert math.fsum(waits) / len(waits) == pytest.approx(mean_wait(demand, slots), rel=0.05)
    assert sum(wait > 0 for wait in waits) / len(waits) == pytest.approx(erlang_c(slots, load), rel=0.05)
    assert quantile(sorted(waits), 0.95) == pytest.approx(wait_quantile(demand, slots, 0.95), rel=0.05)


@pytest.mark.parametrize(
    "kinds",
    [
        (Service(1, 0.1, 0),),
        (Service(1, 0.1, 0.5),),
        (Service(9, 0.05, 0), Service(1, 0.55, 0)),  # a tenth of the tasks takes eleven times as long: a spread of 2.25
    ],
)
def test_tasks_of_any_spread_wait_for_one_slot_as_the_formula_says(kinds: tuple[Service, ...]) -> None:
    demand = Demand(7, kinds)
    waits = simulate(demand, pooled(1), TASKS)[TASKS // 10 :]
    assert math.fsum(waits) / len(waits) == pytest.approx(mean_wait(demand, 1), rel=0.05)


def test_a_worker_that_takes_more_than_it_runs_has_tasks_wait_behind_others() -> None:
    demand = Demand(0.7 * 80, (Service(1, 0.5, 4),))
    waits = [quantile(sorted(simulate(demand, Layout(5, 8, 8 * prefetch), TASKS // 4)), 0.99) for prefetch in (1, 2, 4)]
    assert waits[0] < waits[1] < waits[2]
    # Without more than a slot each, it makes no difference which worker has the slot.
    assert simulate(demand, Layout(5, 8, 8), 1000) == simulate(demand, pooled(40), 1000)


def test_the_same_seed_has_the_same_waits() -> None:
    demand = Demand(7, (Service(1, 0.1, 4),))
    assert simulate(demand, pooled(1), 1000) == simulate(demand, pooled(1), 1000) != simulate(demand, pooled(1), 1000, seed=1)


@pytest.mark.parametrize("name", ORACLE)
def test_another_simulator_has_the_same_waits(name: str) -> None:
    slots, tasks = ORACLE[name]["slots"], ORACLE[name]["tasks"]
    waits = replay([(at, service) for at, service, _ in tasks], pooled(slots))
    assert waits == pytest.approx([wait for _, _, wait in tasks], abs=1e-4)
    assert max(waits) > 0
