"""Formulas, against values that others have computed, and against each other."""

import math

import pytest

from fleet.capacity.demand import Demand, Service
from fleet.capacity.queueing import erlang_b, erlang_c, mean_wait, slots_for, wait_quantile


def demand(load: float, service: float = 1.0, spread: float = 1.0, bursts: float = 1.0) -> Demand:
    return Demand(load / service, (Service(1, service, spread),), bursts)


@pytest.mark.parametrize(
    ("slots", "load", "blocked", "waits"),
    [  # closed forms: B(1) = a / (1 + a), B(2) = a² / (2 + 2a + a²), and C = B / (1 - rho (1 - B))
        (1, 0.5, 1 / 3, 0.5),
        (2, 1.0, 1 / 5, 1 / 3),
        (2, 1.5, 2.25 / 7.25, 9 / 14),
    ],
)
def test_erlangs_formulas(slots: int, load: float, blocked: float, waits: float) -> None:
    assert erlang_b(slots, load) == pytest.approx(blocked)
    assert erlang_c(slots, load) == pytest.approx(waits)


def test_erlangs_formula_of_many_slots_does_not_overflow() -> None:
    assert 0 < erlang_c(10_000, 9_900) < 1
    assert erlang_c(8, 8) == erlang_c(8, 9) == 1


@pytest.mark.parametrize("spread", [0, 0.5, 1, 9])
def test_one_slot_waits_as_pollaczek_and_khinchine_say(spread: float) -> None:
    load, service = 0.8, 0.1
    assert mean_wait(demand(load, service, spread), 1) == pytest.approx(load * service * (1 + spread) / 2 / (1 - load))


def test_a_mixture_has_the_moments_of_its_parts() -> None:
    mixed = Demand(10, (Service(9, 0.1, 0), Service(1, 1.1, 0)))
    assert [mixed.service, mixed.load] == pytest.approx([0.2, 2])
    assert mixed.spread == pytest.approx((0.9 * 0.01 + 0.1 * 1.21) / 0.04 - 1)


def test_slots_that_cannot_keep_up_have_no_wait() -> None:
    assert mean_wait(demand(8), 8) == wait_quantile(demand(8), 8, 0.95) == math.inf


def test_the_fewest_slots_that_meet_an_objective() -> None:
    for objective in (0.01, 0.1, 1, 100):
        slots = slots_for(demand(100), objective, 0.95)
        assert wait_quantile(demand(100), slots, 0.95) <= objective
        assert slots == 101 or wait_quantile(demand(100), slots - 1, 0.95) > objective
