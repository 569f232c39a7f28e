"""How long tasks wait for a slot, by formulas: quick, exact for the mean in simple cases, and a first guess for the tail. Pure.

Erlang's C formula has the share of tasks that wait if the times between arrivals and the service times are exponential
(Kleinrock, Queueing Systems I, 3.5). Allen and Cunneen's correction has the mean wait for other spreads (Allen, Probability,
Statistics and Queueing Theory, 5.3). The tail of other spreads is in no formula: `fleet.capacity.simulation` has it.
"""

from __future__ import annotations

import math
from bisect import bisect_left

from fleet.capacity.demand import Demand


def erlang_b(slots: int, load: float) -> float:
    """The share of tasks that find all slots busy where none waits. By the recursion that does not overflow."""
    blocked = 1.0
    for number in range(1, slots + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked


def erlang_c(slots: int, load: float) -> float:
    """The share of tasks that wait; 1 if the slots are too few for the load."""
    if load >= slots:
        return 1.0
    blocked = erlang_b(slots, load)
    return blocked / (1 - load / slots * (1 - blocked))


def mean_wait(demand: Demand, slots: int) -> float:
    """Seconds that a task waits, on average, by Allen and Cunneen; infinite if the slots are too few."""
    if demand.load >= slots:
        return math.inf
    markovian = erlang_c(slots, demand.load) * demand.service / (slots - demand.load)
    return markovian * (demand.bursts + demand.spread) / 2


def wait_quantile(demand: Demand, slots: int, share: float) -> float:
    """Seconds that `share` of all tasks wait at most, if those that wait wait exponentially: exact for Markovian queues, a first
    guess for others."""
    waiting = erlang_c(slots, demand.load)
    if demand.load >= slots:
        return math.inf
    if waiting <= 1 - share:
        return 0.0
    return mean_wait(demand, slots) / waiting * math.log(waiting / (1 - share))


def slots_for(demand: Demand, objective: float, share: float) -> int:
    """The fewest slots with which `share` of all tasks wait at most `objective` seconds, by wait_quantile()."""
    fewest = math.floor(demand.load) + 1
    most = fewest
    while wait_quantile(demand, most, share) > objective:
        most *= 2
    return bisect_left(range(fewest, most), True, key=lambda slots: wait_quantile(demand, slots, share) <= objective) + fewest
