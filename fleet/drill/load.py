"""A steady load of numbered tasks on a fleet: short and long, waiting and computing, at once and with an ETA."""

from __future__ import annotations

import json
import math
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis, RedisError

from fleet.drill.ledger import Entry, Sent
from fleet.plan.plan import Plan

IO_SECONDS, CPU_SECONDS, LONG_SECONDS, ETA_SECONDS = 0.05, 2.0, 30.0, 20.0
BUSY = 0.2
"""Share of a role's slots that each kind of its tasks takes: a fleet at half its power has room for what a rollout takes away."""
MOST = 1.0
"""Tasks a second of one kind and role at most: enough to count, and no load to speak of for a large fleet."""


@dataclass(frozen=True)
class Kind:
    """One kind of task that one role gets. every: seconds between two. eta: its countdown in seconds, 0 for at once."""

    name: str
    seconds: float
    queues: tuple[str, ...]
    every: float
    eta: float = 0.0


def mix(plan: Plan) -> tuple[Kind, ...]:
    """What each role gets: by its workload, and as many as its slots can take.

    io: 50 ms of waiting, now and with an ETA of 20 s. cpu: 2 s of computing, 30 s of waiting, and ETAs too. gpu: 50 ms. What
    computes is little on purpose: it shall be seen that nothing is lost, and not how slow a machine is that is out of breath.
    """
    kinds: list[Kind] = []
    for places in plan.roles.values():
        worker = places[0].sized.worker
        slots = sum(place.sized.slots for place in places)
        if not slots:
            continue
        queues = tuple(dict.fromkeys(worker.queues))

        def kind(
            name: str, seconds: float, eta: float = 0.0, most: float = MOST, slots: int = slots, queues: tuple[str, ...] = queues
        ) -> Kind:
            return Kind(name, seconds, queues, 1 / min(most, BUSY * slots / seconds), eta)

        kinds.append(kind("io", IO_SECONDS))
        if worker.workload == "gpu":
            continue
        kinds.append(kind("eta", IO_SECONDS, ETA_SECONDS, most=0.2))
        if worker.workload == "cpu":
            kinds += [kind("cpu", CPU_SECONDS, most=0.1), kind("long", LONG_SECONDS, most=0.1)]
    return tuple(kinds)


def schedule(kinds: tuple[Kind, ...]) -> Iterator[tuple[float, Kind, str]]:
    """(seconds since the start, kind, queue) of every task to send, in order, for ever. A kind's queues take turns."""
    counts = [0] * len(kinds)
    while kinds:
        due = [
            kind.every * (count + (index + 1) / (len(kinds) + 1))
            for index, (kind, count) in enumerate(zip(kinds, counts, strict=True))
        ]
        index = due.index(min(due))
        kind = kinds[index]
        yield due[index], kind, kind.queues[counts[index] % len(kind.queues)]
        counts[index] += 1


class Producer:
    """Sends from a thread of its own while the context lasts.

    outages: whether the broker may be away for a while; what was being sent then is left out of the account.
    Raises from `check()`, and at the context's end, what went wrong while it sent. Times are Redis' own.
    """

    def __init__(self, broker: str, results: str, kinds: tuple[Kind, ...], outages: bool = False) -> None:
        self._outages = outages
        self.run = uuid.uuid4().hex[:12]
        self.sent: list[Sent] = []
        self._kinds = kinds
        self._app = Celery("drill", broker=broker, backend=results, set_as_current=False)
        self._app.conf.update(broker_url=broker, result_backend=results, task_ignore_result=True)
        self._clock = Redis.from_url(results)
        self._results = Redis.from_url(results)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._error: Exception | None = None

    def __enter__(self) -> Producer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._results.delete(self._ledger)
        self._results.close()
        self._clock.close()
        self._app.close()

    def send_aside(self, kind: str, amount: float, queue: str) -> str:
        """Send one task that is not in the account. Returns its id."""
        return str(self._app.send_task("fleet.drill", [self.run, -1, kind, amount], queue=queue).id)

    def stop(self) -> None:
        """Send no more."""
        self._over.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what ended the sending, if anything did."""
        if self._error is not None:
            raise self._error

    def now(self) -> float:
        """Redis' clock, in seconds."""
        seconds, micros = self._results.time()
        return float(seconds + micros / 1e6)

    def entries(self) -> list[Entry]:
        """The ledger so far."""
        lines = dict.fromkeys(self._results.lrange(self._ledger, 0, -1))  # a line that was written again after no answer came
        return [tuple(json.loads(line)) for line in lines]

    def wait_until_finished(self, patience: float) -> None:
        """Wait until all that was sent has ended, or for `patience` seconds nothing more has."""
        ended, last = -1, time.monotonic()
        while True:
            now = len({number for number, what, _, _ in self.entries() if what == "end"})
            if now >= len(self.sent) or (now == ended and time.monotonic() - last > patience):
                return
            if now != ended:
                ended, last = now, time.monotonic()
            time.sleep(1)

    @property
    def _ledger(self) -> str:
        return f"fleet.drill.{self.run}"

    def _send(self) -> None:
        try:
            started = time.monotonic()
            for number, (due, kind, queue) in enumerate(schedule(self._kinds), 1):
                if self._over.wait(max(0.0, started + due - time.monotonic())):
                    return
                what = [self.run, number, kind.name, kind.seconds]
                try:
                    seconds, micros = self._clock.time()
                    self._app.send_task("fleet.drill", what, queue=queue, countdown=math.ceil(kind.eta) or None)
                except (RedisError, OperationalError, ConnectionError):
                    if not self._outages:
                        raise
                    continue  # whether the broker has it nobody knows: it is in no account
                self.sent.append(Sent(number, kind.name, queue, seconds + micros / 1e6 + kind.eta))
        except Exception as error:  # whatever it is, the main thread says it
            self._error = error
