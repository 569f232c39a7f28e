"""A steady load of numbered tasks on a fleet: short and long, waiting and computing, at once and with an ETA."""

from __future__ import annotations

import json
import math
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from amqp.exceptions import AMQPError
from kombu.exceptions import OperationalError
from redis import Redis, RedisError

from fleet.broker.announcing import Announcer, sender, sent_to
from fleet.drill.ledger import Entry, Sent
from fleet.plan.plan import Plan
from fleet_node.protocol import DRILL_LEDGER, DRILL_TASK

ANNOUNCE_EVERY = 10.0
"""Seconds between two renewals of the announcement."""
IO_SECONDS, CPU_SECONDS, LONG_SECONDS, ETA_SECONDS = 0.05, 2.0, 30.0, 20.0
BUSY = 0.2
"""Share of a role's slots that each kind of its tasks takes. A fleet at half its power has room for a rollout."""
MOST_ETA = 0.2
MOST = 1.0
"""Most tasks a second of one kind and role: enough to count, and little load for a large fleet."""


ANSWER = 5.0
"""Seconds for a worker to answer."""


@dataclass(frozen=True)
class Kind:
    """One kind of task for one role. every: seconds between two tasks. eta: their countdown in seconds, 0 for at once."""

    name: str
    seconds: float
    queues: tuple[str, ...]
    every: float
    eta: float = 0.0


def mix(plan: Plan) -> tuple[Kind, ...]:
    """The kinds of task for each role: by its workload, and as many as its slots can take.

    io: 50 ms of waiting, now and with an ETA of 20 s. cpu: 2 s of computing, 30 s of waiting, and ETAs too. gpu: 50 ms.
    Computing is little on purpose: a drill shows whether tasks are lost, and not how slow a busy machine is. With RabbitMQ, a
    task that waits in a worker for its ETA is one of those that the worker may hold, so that too many keep it from all others.
    """
    kinds: list[Kind] = []
    is_redis = plan.fleet.transport == "redis"
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
        kinds.append(
            kind("eta", IO_SECONDS, ETA_SECONDS, most=MOST_ETA if is_redis else min(MOST_ETA, BUSY * slots / ETA_SECONDS))
        )
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
    """Sends tasks from a thread of its own while the context lasts.

    Workers have the drill's task only while it is announced: from the context's begin until its last task has ended.

    ledger: URL of the Redis in which its tasks write down what they do; None if that is the broker. outages: whether the broker
    may be down for a while. A task that was being sent then is left out of the account. `check()` raises the error that ended
    the sending. Times are seconds of Redis' clock.
    """

    def __init__(self, broker: str, kinds: tuple[Kind, ...], outages: bool = False, ledger: str | None = None) -> None:
        self._outages = outages
        self.run = uuid.uuid4().hex[:12]
        self.sent: list[Sent] = []
        self._kinds = kinds
        self._url = broker
        self._app = sender(broker)
        self._announcer = Announcer(ledger or broker, self.run)
        self._redis = Redis.from_url(ledger or broker)
        self._clock = Redis.from_url(ledger or broker)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._left = threading.Event()
        self._announcing = threading.Thread(target=self._keep_announced, daemon=True)
        self._error: Exception | None = None

    def __enter__(self) -> Producer:
        self._announcer.announce()
        self._announcing.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._left.set()
        self._announcing.join()
        # Tasks that are left run, or wait for their ETA, until the announcement ends by itself.
        if self._ended() >= len(self.sent):
            self._announcer.withdraw()
        self._redis.delete(self._ledger)
        for client in (self._clock, self._redis, self._announcer):
            client.close()
        self._app.close()

    def send_aside(self, kind: str, amount: float, queue: str) -> str:
        """Send one task that is not in the account. Returns its id."""
        return str(self._app.send_task(DRILL_TASK, [self.run, -1, kind, amount], queue=sent_to(self._url, queue)).id)

    def send_unknown(self, task: str, queue: str) -> None:
        """Send a task that is in no account, and that no worker has."""
        self._app.send_task(task, queue=sent_to(self._url, queue))

    def stop_consuming(self, node: str, queues: Iterable[str]) -> None:
        """Have a worker consume nothing, until it is started again."""
        for queue in queues:
            self._app.control.cancel_consumer(queue, destination=[node], reply=True, timeout=ANSWER)

    def stop(self) -> None:
        """Send no more."""
        self._over.set()
        self._thread.join()

    def send_for(self, seconds: float) -> None:
        """Wait this long while the load goes on. Raises the error that ended the sending, if any."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))

    def check(self) -> None:
        """Raise the error that ended the sending, if any."""
        if self._error is not None:
            raise self._error

    def now(self) -> float:
        """Redis' clock, in seconds."""
        seconds, micros = self._redis.time()
        return float(seconds + micros / 1e6)

    def entries(self) -> list[Entry]:
        """The ledger so far."""
        lines = dict.fromkeys(self._redis.lrange(self._ledger, 0, -1))  # a worker that gets no answer writes its line again
        return [tuple(json.loads(line)) for line in lines]

    def wait_until_finished(self, patience: float) -> None:
        """Wait until every task that was sent has ended, or for `patience` seconds no further task has."""
        ended, last = -1, time.monotonic()
        while True:
            now = self._ended()
            if now >= len(self.sent) or (now == ended and time.monotonic() - last > patience):
                return
            if now != ended:
                ended, last = now, time.monotonic()
            time.sleep(1)

    @property
    def _ledger(self) -> str:
        return f"{DRILL_LEDGER}{self.run}"

    def _ended(self) -> int:
        """How many tasks of the account have ended. One whose sending failed may run too, and is not of the account."""
        sent = {task.number for task in self.sent}
        return len({number for number, event, _, _ in self.entries() if event == "end" and number in sent})

    def _keep_announced(self) -> None:
        while not self._left.wait(ANNOUNCE_EVERY):
            self._announcer.try_to_announce()

    def _send(self) -> None:
        try:
            started = time.monotonic()
            queues: dict[str, Any] = {}
            for number, (due, kind, queue) in enumerate(schedule(self._kinds), 1):
                if self._over.wait(max(0.0, started + due - time.monotonic())):
                    return
                arguments = [self.run, number, kind.name, kind.seconds]
                try:
                    seconds, micros = self._clock.time()
                    self._app.send_task(
                        DRILL_TASK,
                        arguments,
                        queue=queues.setdefault(queue, sent_to(self._url, queue)),
                        countdown=math.ceil(kind.eta) or None,
                    )
                except (RedisError, OperationalError, AMQPError, OSError):
                    if not self._outages:
                        raise
                    continue  # the broker may or may not have the task: the account leaves it out
                self.sent.append(Sent(number, kind.name, queue, seconds + micros / 1e6 + kind.eta))
        except Exception as error:  # any error is raised in the main thread, by check()
            self._error = error
