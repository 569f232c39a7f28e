"""What a worker is lent out for, at the request of `fleet balance`: for a time it consumes queues of other roles too, or has more
slots.

The worker keeps to it by itself, also after it has lost its broker (what add_consumer adds is forgotten then, celery#7733) and
after a restart. It ends it by itself too, whether whoever asked for it still lives.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from celery.worker import state

from fleet_node.delivery.holdings import uptime
from fleet_node.patches import pool_of
from fleet_node.protocol import LOAN_FILE, LOAN_MOST, Lent
from fleet_node.worker import device

logger = logging.getLogger(__name__)

EVERY = 2.0
"""Seconds between two looks at whether the worker still does as it is lent, while it is."""
GROWING = ("prefork",)
"""Pools that can have more slots for a time, and fewer again without a task that is cut off."""


@dataclass(frozen=True)
class Loan:
    """queues: that are consumed besides the worker's own. slots: more than it has. ends: seconds since the machine's start."""

    queues: tuple[str, ...] = ()
    slots: int = 0
    ends: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is lent."""
        return not (self.queues or self.slots)


class Loans:
    """Of one worker (a celery WorkController). own: the queues that it was started for. file: where its loan outlives a restart;
    None: it does not."""

    def __init__(self, worker: Any, own: Iterable[str], file: Path | None) -> None:
        self._worker, self._own, self._file = worker, frozenset(own), file
        self._loan = Loan()
        self._added: set[str] = set()
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self.grown = 0
        """Slots that the worker has now besides its own."""

    def resume(self) -> None:
        """Go on with the loan that the last process of the worker had."""
        if loan := _read(self._file):
            # The settings may have changed since then.
            self._keep(replace(loan, queues=tuple(sorted(set(loan.queues) - self._own))))

    def lend(self, queues: Iterable[str], slots: int, seconds: float) -> Lent:
        """Lend the worker out for so long, and for nothing that it was lent out for before. Raises ValueError."""
        queues = tuple(sorted({*map(str, queues)} - self._own))
        if not 0 <= seconds <= LOAN_MOST:
            raise ValueError(f"a loan lasts {LOAN_MOST} s at most")
        if slots < 0:
            raise ValueError("a worker lends no slots of its own away")
        if slots and pool_of(self._worker) not in GROWING:
            raise ValueError(f"its pool ({pool_of(self._worker)}) gets no more slots for a time")
        if slots and self._worker.autoscaler:
            raise ValueError("a worker with --autoscale has its own way to more slots")
        loan = Loan(queues, slots, uptime() + seconds) if seconds and (queues or slots) else Loan()
        _write(self._file, loan)
        self._keep(loan)
        return self.plain(0.0)

    def plain(self, now: float) -> Lent:
        """For the worker's sign. now: Redis's time."""
        loan, queues = self._loan, {*self._loan.queues, *self._added}
        return {"queues": sorted(queues), "slots": self.grown, "until": round(now + max(0.0, loan.ends - uptime()))}

    def __bool__(self) -> bool:
        return not self._loan.is_empty or bool(self._added) or bool(self.grown)

    def _keep(self, loan: Loan) -> None:
        with self._lock:
            self._loan = loan
            self._wake.set()
            if self._thread is None and self:
                self._thread = threading.Thread(target=self._run, name="fleet-loans", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._loan.ends <= uptime():
                    self._loan = Loan()
                if not self:
                    self._thread = None
                    return
                self._wake.clear()
            try:
                self._look()
            except Exception as error:  # the consumer changes while it is read; the next look is better
                logger.warning("loans: %r", error)
            self._wake.wait(EVERY)

    def _look(self) -> None:
        worker, loan = self._worker, self._loan
        consumer = worker.consumer
        if consumer and consumer.task_consumer and not worker.fleet_vitals.is_draining and not device.unavailable():
            consumer.call_soon(self._adjust, consumer, loan)

    def _adjust(self, consumer: Any, loan: Loan) -> None:
        """In the worker's own thread."""
        if loan != self._loan or self._worker.fleet_vitals.is_draining or not consumer.task_consumer:
            return
        for queue in loan.queues:
            self._added.add(queue)  # first: the connection may be lost in between, and Celery consumes it after the next
            if not consumer.task_consumer.consuming_from(queue):
                logger.warning("lent out: consumes %s too, for %d s at most", queue, loan.ends - uptime())
                with suppress(KeyError):  # one that the app does not declare gets the type that its settings say
                    consumer.app.amqp.queues[queue]
                consumer.add_task_queue(queue)
        for queue in self._added.difference(loan.queues):
            logger.warning("no longer lent out: consumes %s no more", queue)
            consumer.cancel_task_queue(queue)
            self._added.discard(queue)
        while self.grown != loan.slots and self._resize(consumer, 1 if self.grown < loan.slots else -1):
            pass

    def _resize(self, consumer: Any, step: int) -> bool:
        """One slot more or fewer. Returns whether that went: a busy process does not end, and is asked again. One counts as busy
        when it has said so: none ends while a task is on its way to it."""
        if step < 0 and set(state.reserved_requests) - set(state.active_requests):
            return False
        try:
            consumer.pool.grow(1) if step > 0 else consumer.pool.shrink(1)
        except ValueError:  # "Can't shrink pool. All processes busy!"
            return False
        consumer._update_prefetch_count(step)
        self.grown += step
        return True


def of_worker(worker: Any) -> Loans:
    """With a file in the unit's runtime directory, if systemd started the worker."""
    folder = os.environ.get("RUNTIME_DIRECTORY")
    return Loans(worker, worker.app.amqp.queues.consume_from, Path(folder) / LOAN_FILE if folder else None)


def _read(file: Path | None) -> Loan | None:
    """The loan in a file that has not ended."""
    try:
        content = json.loads(file.read_text()) if file else {}
        loan = Loan(tuple(map(str, content["queues"])), int(content["slots"]), float(content["ends"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return loan if uptime() < loan.ends <= uptime() + LOAN_MOST else None


def _write(file: Path | None, loan: Loan) -> None:
    if file is None:
        return
    new = file.with_suffix(".new")
    new.write_text(json.dumps(asdict(loan)))
    new.replace(file)
