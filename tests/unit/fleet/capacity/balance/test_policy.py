"""Who is lent out to whom, in simulated time: at once where tasks wait, not back and forth, no more than a lender can spare."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator

from fleet.capacity.balance.policy import LOAN, Balancer, Move
from tests.unit.fleet.capacity.balance.simulated_fleet import (
    HOUR,
    Balancing,
    SimulatedFleet,
    Task,
    Worker,
    arrivals,
    fleet_of,
    merged,
    p95,
    terms_of,
    worst,
)

OBJECTIVES = {"web": 5.0, "batch": 30.0}
BASE = 4.0
"""Tasks a second of a second each, for eight slots."""
BURST = 600.0


def second(chance: random.Random) -> float:
    return chance.expovariate(1.0)


def trace(rate: Callable[[float], float], hours: float, batch: float = 2.0, seconds: float = 2.0) -> Iterator[Task]:
    """Tasks of web, and `batch` a second of batch that take some seconds."""
    return merged(
        arrivals("web", rate, hours * HOUR, second, 1, 4 * BASE),
        arrivals("batch", lambda _: batch, hours * HOUR, lambda chance: chance.expovariate(1 / seconds), 2, batch),
    )


def burst(begins: float, factor: float = 4) -> Callable[[float], float]:
    """A rate that is so many times as high for ten minutes."""
    return lambda at: BASE * (factor if begins <= at < begins + BURST else 1)


def played(tasks: Iterator[Task], mover: Callable[[SimulatedFleet], None] | None = None) -> SimulatedFleet:
    fleet = fleet_of(web=[4, 4], batch=[8, 8])
    fleet.run(tasks, mover or Balancing(Balancer(terms_of(fleet, OBJECTIVES))))
    return fleet


def kinds(fleet: SimulatedFleet) -> list[str]:
    return [kind for _, kind in fleet.changes]


def test_nothing_moves_in_hours_of_steady_load() -> None:
    fleet = played(trace(lambda _: BASE, 3))
    assert fleet.changes == []


def test_a_burst_takes_two_moves_and_the_wait_is_back_within_a_minute() -> None:
    fleet = played(trace(burst(HOUR), 2))
    assert kinds(fleet) == ["lend", "return"]
    (lent, _), (back, _) = fleet.changes
    assert HOUR < lent < HOUR + 60
    assert p95(fleet.waits["web"], lent + 60, HOUR + BURST) <= OBJECTIVES["web"]
    assert HOUR + BURST < back < HOUR + 2 * BURST, "given back within ten minutes"
    without = fleet_of(web=[4, 4], batch=[8, 8])
    without.run(trace(burst(HOUR), 2))
    assert worst(without.waits["web"]) > 5 * worst(fleet.waits["web"])
    assert p95(fleet.waits["batch"], HOUR, HOUR + BURST) < OBJECTIVES["batch"], "who lends keeps its own objective"


def test_a_machine_that_is_lost_is_stood_in_for_until_it_is_back() -> None:
    def mover(fleet: SimulatedFleet) -> None:
        fleet.lose({"web-1"}, is_there=not HOUR <= fleet.now < 2 * HOUR)
        balancing(fleet)

    fleet = fleet_of(web=[4, 4], batch=[8, 8])
    balancing = Balancing(Balancer(terms_of(fleet, OBJECTIVES)))
    fleet.run(trace(lambda _: BASE, 3), mover)
    assert kinds(fleet) == ["lend", "return"]
    assert 2 * HOUR <= fleet.changes[1][0] < 2 * HOUR + 600
    assert worst(fleet.waits["web"]) < 30


def test_a_loan_ends_where_the_balancer_has_died() -> None:
    def mover(fleet: SimulatedFleet) -> None:
        if not fleet.changes:
            balancing(fleet)

    fleet = fleet_of(web=[4, 4], batch=[8, 8])
    balancing = Balancing(Balancer(terms_of(fleet, OBJECTIVES)))
    fleet.run(trace(burst(HOUR), 1.5), mover)
    assert kinds(fleet) == ["lend"]
    assert all(worker.queues == [worker.group] for worker in fleet.workers)
    assert p95(fleet.waits["web"], fleet.changes[0][0] + 60, fleet.changes[0][0] + LOAN - 10) < 5


def test_one_that_takes_over_knows_from_the_workers_what_is_lent() -> None:
    def mover(fleet: SimulatedFleet) -> None:
        (first if fleet.now < HOUR + 300 else second_one)(fleet)

    fleet = fleet_of(web=[4, 4], batch=[8, 8])
    first, second_one = (Balancing(Balancer(terms_of(fleet, OBJECTIVES))) for _ in range(2))
    fleet.run(trace(burst(HOUR), 2), mover)
    assert kinds(fleet) == ["lend", "return"]


def test_who_has_no_room_lends_nobody_out() -> None:
    """14 of 16 slots are busy."""
    fleet = played(trace(burst(HOUR), 1.5, batch=7.0))
    assert fleet.changes == []


def test_who_lends_keeps_its_objective_with_long_tasks_too() -> None:
    """Of its own, which keep ten slots busy, and of those that it helps: then those that it keeps are enough for its own."""
    tasks = merged(
        arrivals("web", lambda at: 0.2 if at > HOUR else 0.05, 3 * HOUR, lambda chance: chance.expovariate(1 / 80), 1, 0.2),
        arrivals("batch", lambda _: 0.1, 3 * HOUR, lambda chance: chance.expovariate(1 / 60), 2, 0.1),
    )
    fleet = played(tasks)
    assert "lend" in kinds(fleet)
    assert p95(fleet.waits["batch"], HOUR) < OBJECTIVES["batch"]


def test_who_needs_its_workers_gets_them_back() -> None:
    tasks = merged(
        arrivals("web", lambda at: BASE * (4 if at > HOUR else 1), 2 * HOUR, second, 1, 4 * BASE),
        arrivals("batch", lambda at: 6.0 if at > HOUR + 300 else 1.0, 2 * HOUR, lambda c: c.expovariate(1 / 2), 2, 6.0),
    )
    fleet = played(tasks)
    assert kinds(fleet)[:2] == ["lend", "return"]
    assert HOUR + 300 < fleet.changes[1][0] < HOUR + 600
    assert p95(fleet.waits["batch"], HOUR) < OBJECTIVES["batch"]


def test_bursts_that_come_again_soon_are_no_reason_to_flap() -> None:
    """One of two minutes every ten: whoever needs it again so soon keeps it."""
    fleet = played(trace(lambda at: BASE * (3 if at % 600 < 120 else 0.5), 4))
    assert kinds(fleet)[:3] == ["lend", "return", "lend"]
    assert len(fleet.changes) <= 7


def test_a_group_of_which_nobody_said_how_long_it_may_wait_gets_nothing() -> None:
    fleet = fleet_of(web=[4, 4], batch=[8, 8])
    fleet.run(trace(burst(HOUR), 1.5), Balancing(Balancer(terms_of(fleet, {"batch": 30.0}))))
    assert fleet.changes == []


def test_more_slots_of_its_own_where_nobody_lends() -> None:
    fleet = fleet_of(web=[4, 4])
    fleet.run(
        arrivals("web", burst(HOUR, 2.5), 2 * HOUR, second, 1, 4 * BASE),
        Balancing(Balancer(terms_of(fleet, OBJECTIVES, spare=4))),
    )
    assert kinds(fleet) == ["grow", "return"]
    assert p95(fleet.waits["web"], fleet.changes[0][0] + 60, HOUR + BURST) <= OBJECTIVES["web"]
    assert max(worker.grown for worker in fleet.workers) == 0, "given back"


def looks(fleet: SimulatedFleet, balancer: Balancer, *times: float) -> list[Move]:
    """What is decided at these times, while nothing else happens."""
    moves: list[Move] = []
    for at in times:
        fleet.now = at
        moves += balancer.decide(fleet.look())
    return moves


def waiting(fleet: SimulatedFleet, group: str, number: int, slots: int) -> None:
    """Tasks wait, all slots of the group are busy, and it is known how long they run."""
    fleet.queues[group] = deque((0.0, 1.0) for _ in range(number))
    for worker in fleet.workers:
        if worker.group == group:
            worker.running = min(worker.slots, slots)
            worker.ran[group], worker.begun[group] = (100.0, 100.0), 100


def test_one_lender_helps_one_of_two_that_ask_at_once() -> None:
    fleet = fleet_of(a=[4], b=[4], c=[4, 4])
    for group in "ab":
        waiting(fleet, group, 50, 4)
    fleet.workers[-1].ran["c"] = (100.0, 1.0)
    fleet.workers[-2].is_there = False
    moves = looks(fleet, Balancer(terms_of(fleet, {"a": 5.0, "b": 5.0, "c": 5.0})), 1000, 1010, 1020)
    assert [(move.group, move.kind) for move in moves if move.orders] == [("a", "lend")]
    assert [move.group for move in moves if move.kind == "lacking"] == ["b"]


def test_nothing_is_moved_while_a_worker_is_away_for_a_moment() -> None:
    fleet = fleet_of(web=[4, 4], batch=[8, 8])
    waiting(fleet, "web", 50, 4)
    balancer = Balancer(terms_of(fleet, OBJECTIVES))
    looks(fleet, balancer, 1000)
    fleet.workers[1].is_there = False
    assert [move.kind for move in looks(fleet, balancer, 1010, 1020, 1030, 1040, 1050)] == ["held"] * 4
    assert "lend" in [move.kind for move in looks(fleet, balancer, 1060, 1070)], "it is lost"


def test_a_role_whose_workers_are_all_gone_is_helped() -> None:
    fleet = fleet_of(web=[4], batch=[8, 8])
    waiting(fleet, "web", 50, 4)
    balancer = Balancer(terms_of(fleet, OBJECTIVES))
    looks(fleet, balancer, 1000, 1010)
    fleet.workers[0].is_there = False
    moves = looks(fleet, balancer, *range(1020, 1100, 10))
    assert "lend" in [move.kind for move in moves]
    assert next(move for move in moves if move.kind == "lend").why.startswith("its tasks wait, and no worker of it is there")


def test_what_a_worker_has_of_others_stays_when_one_gives_back() -> None:
    fleet = fleet_of(a=[4], b=[4], c=[4])
    helper = fleet.workers[-1]
    helper.queues, helper.grown, helper.until = ["c", "a"], 2, 1500.0
    for worker in fleet.workers:
        worker.ran[worker.group] = (100.0, 1.0)
    moves = looks(fleet, Balancer(terms_of(fleet, {"a": 5.0, "b": 5.0})), *range(1000, 1200, 10))
    back = next(move for move in moves if move.kind == "return")
    assert (back.group, back.orders[0].queues, back.orders[0].slots) == ("a", (), 2)
    assert 300 < back.orders[0].seconds <= 500


def test_a_worker_that_the_settings_know_no_more_is_no_error() -> None:
    fleet = fleet_of(web=[4], batch=[8])
    terms = terms_of(fleet, OBJECTIVES)
    fleet.workers.append(Worker("gone-1", "gone", 4, ["gone", "web"], until=1e9))
    waiting(fleet, "web", 50, 4)
    assert [move.kind for move in looks(fleet, Balancer(terms), 1000, 1010, 1020)] == ["lend"]


def test_who_lends_and_never_ended_a_task_gets_its_workers_back_if_its_tasks_wait() -> None:
    fleet = fleet_of(web=[4], batch=[8])
    waiting(fleet, "web", 50, 4)
    fleet.workers[1].queues, fleet.workers[1].until = ["batch", "web"], 1e9
    fleet.queues["batch"] = deque([(0.0, 100.0)])
    moves = looks(fleet, Balancer(terms_of(fleet, OBJECTIVES)), 1000, 1010)
    assert ("return", "batch needs it itself") in [(move.kind, move.why) for move in moves]


def test_what_nobody_has_is_said() -> None:
    fleet = fleet_of(web=[4, 4])
    balancer = Balancer(terms_of(fleet, OBJECTIVES))
    lacking: list[int] = []

    def mover(fleet: SimulatedFleet) -> None:
        lacking.extend(move.lacking for move in balancer.decide(fleet.look()) if move.kind == "lacking")

    fleet.run(arrivals("web", burst(HOUR), 1.3 * HOUR, second, 1, 4 * BASE), mover)
    assert lacking
    assert lacking[0] >= math.floor(4 * BASE - 8)
    assert fleet.changes == []
