"""How a role's pods would do under a load, by the autoscaler's own decisions: waits, pods, and whom it removes. Pure: the same
numbers always give the same answer.

A pod takes tasks when it is ready, and none once it goes: then it ends those that it runs, as a drain does.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise
from typing import Protocol

from fleet.kubernetes.autoscaler import SYNC

START_SECONDS = 20.0
"""Until a pod is ready: its image is there, and the app is imported."""


LONGER = 20.0
TAIL = 900.0
"""Seconds after the last task has come."""


class Scaler(Protocol):
    """Who decides how many pods there are."""

    def sync(self, now: float, metric: float | None, replicas: int, ready: int | None = None) -> int:
        """The replicas that it sets."""


@dataclass(frozen=True)
class Trace:
    """A load. rate: second → tasks a second that come then. seconds: how long they come. service: mean seconds of a task, which
    is exponential; long: the share of tasks that take LONGER times as long. most: the highest rate."""

    rate: Callable[[float], float]
    seconds: float
    service: float
    most: float
    long: float = 0.0

    def arrivals(self, chance: random.Random) -> Iterator[float]:
        """When tasks come: independently of each other."""
        now = 0.0
        while (now := now + chance.expovariate(self.most)) < self.seconds:
            if chance.random() * self.most < self.rate(now):
                yield now

    def takes(self, chance: random.Random) -> float:
        """How long a task runs."""
        return chance.expovariate(1 / self.service) * (LONGER if chance.random() < self.long else 1.0)


@dataclass
class _Pod:
    number: int
    ready_at: float
    running: int = 0
    is_going: bool = False


@dataclass
class Played:
    """waits: seconds, of all tasks in the order in which they began. pods: (second, how many) at each change. busy: pods that
    were removed while they ran a task; needless: those of them that went although an idle one stayed. first: seconds that tasks
    waited which found no pod at all, at most. pod_seconds: for which pods were paid."""

    waits: list[float] = field(default_factory=list)
    pods: list[tuple[float, int]] = field(default_factory=list)
    busy: int = 0
    needless: int = 0
    first: float = 0.0
    pod_seconds: float = 0.0

    def wait(self, share: float) -> float:
        """Within which so many tasks began."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0

    @property
    def turns(self) -> int:
        """How often the number of pods turned from more to fewer, or back."""
        ups = [after > before for (_, before), (_, after) in pairwise(self.pods) if after != before]
        return sum(now != then for then, now in pairwise(ups))


def play(trace: Trace, scaler: Scaler, slots: int, replicas: int, by_cost: bool = True, seed: int = 1) -> Played:
    """Play a load on pods of `slots` slots, and on for TAIL seconds. replicas: pods at the beginning. by_cost: whether idle pods
    go first, as their deletion costs say; without, the youngest does."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    world = _World(slots, by_cost, lambda: trace.takes(chance))
    for _ in range(replicas):
        world.add(0.0, ready_at=0.0)
    arrivals = trace.arrivals(chance)
    coming = next(arrivals, None)
    now = sync = 0.0
    while coming is not None or world.waiting or world.events or now < trace.seconds + TAIL:
        soonest = min(coming if coming is not None else math.inf, sync, world.events[0][0] if world.events else math.inf)
        world.pass_to(soonest)
        now = soonest
        if soonest == coming:
            world.come(now)
            coming = next(arrivals, None)
        elif soonest == sync:
            world.scale(now, scaler)
            sync += SYNC
        else:
            world.end_next()
        world.begin(now)
        if now > trace.seconds + 24 * 3600:
            raise RuntimeError("tasks wait for ever")
    world.played.pods.append((now, len(world.alive)))
    return world.played


NOBODY = -1


class _World:
    def __init__(self, slots: int, by_cost: bool, takes: Callable[[], float]) -> None:
        self.slots, self.by_cost, self._takes = slots, by_cost, takes
        self.pods: list[_Pod] = []
        self.waiting: deque[tuple[float, bool]] = deque()
        self.events: list[tuple[float, int]] = []
        """(second, pod) at which a task ends; or NOBODY's, at which a pod is ready."""
        self.played = Played()
        self._by_number: dict[int, _Pod] = {}
        self._now = 0.0

    @property
    def alive(self) -> list[_Pod]:
        return [pod for pod in self.pods if not pod.is_going]

    def pass_to(self, now: float) -> None:
        self.played.pod_seconds += len(self.pods) * (now - self._now)
        self._now = now

    def add(self, now: float, ready_at: float) -> None:
        pod = _Pod(len(self._by_number), ready_at)
        self._by_number[pod.number] = pod
        self.pods.append(pod)
        heappush(self.events, (ready_at, NOBODY))
        self.played.pods.append((now, len(self.alive)))

    def come(self, now: float) -> None:
        self.waiting.append((now, not self.alive))

    def begin(self, now: float) -> None:
        """Whoever is ready takes what waits: the emptiest first, as those who wait for a message do."""
        while self.waiting:
            free = [pod for pod in self.alive if pod.ready_at <= now and pod.running < self.slots]
            if not free:
                return
            pod = min(free, key=lambda pod: pod.running)
            came, found_none = self.waiting.popleft()
            wait = now - came
            self.played.waits.append(wait)
            if found_none:
                self.played.first = max(self.played.first, wait)
            pod.running += 1
            heappush(self.events, (now + self._takes(), pod.number))

    def end_next(self) -> None:
        _, number = heappop(self.events)
        if number == NOBODY:
            return
        pod = self._by_number[number]
        pod.running -= 1
        if pod.is_going and not pod.running:
            self.pods.remove(pod)

    def scale(self, now: float, scaler: Scaler) -> None:
        """What runs in pods that go is theirs to end, and no reason for others."""
        alive = self.alive
        tasks = sum(pod.running for pod in alive) + len(self.waiting)
        ready = sum(pod.ready_at <= now for pod in alive)
        desired = scaler.sync(now, float(tasks), len(alive), ready)
        for _ in range(desired - len(alive)):
            self.add(now, now + START_SECONDS)
        for _ in range(len(alive) - desired):
            self._remove(now)

    def _remove(self, now: float) -> None:
        def order(pod: _Pod) -> tuple[bool, int, float]:
            return pod.ready_at <= now, pod.running if self.by_cost else 0, -pod.ready_at

        pod = min(self.alive, key=order)
        pod.is_going = True
        if pod.running:
            self.played.busy += 1
            self.played.needless += any(not each.running for each in self.alive)
        else:
            self.pods.remove(pod)
        self.played.pods.append((now, len(self.alive)))


def traces(slots: int, pods: int, service: float) -> Mapping[str, Trace]:
    """Loads for a role that may have so many pods: name → what it is."""
    full = slots * pods / service
    period = 14400.0
    return {
        # A little, then ten minutes of all that there may be, then a little.
        "burst": Trace(lambda at: 0.9 * full if 1800 <= at < 2400 else 0.02 * full, 5400, service, 0.9 * full),
        # A day's, in four hours.
        "wave": Trace(lambda at: full * (0.42 - 0.38 * math.cos(2 * math.pi * at / period)), period, service, 0.8 * full),
        # Much at once, and nothing after it. One task of twenty takes long.
        "slow-drain": Trace(lambda at: 2 * full if at < 60 else 0.0, 60, service, 2 * full, 0.05),
    }
