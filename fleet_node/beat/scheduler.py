"""The schedulers of the leader: Celery's own with its runs in Redis, and any other behind the lock."""

from __future__ import annotations

import logging
from datetime import datetime
from heapq import heapify
from typing import Any

from celery.beat import PersistentScheduler, Scheduler
from celery.schedules import schedule
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from fleet_node.beat.fence import Fence
from fleet_node.beat.pulse import Pulse
from fleet_node.protocol import BEAT_DRILL_ENTRY, BeatRun

logger = logging.getLogger("celery.beat")

RETRY = 1.0
"""Seconds until a run is tried again that could not be sent."""
LOOK = 5.0
"""Seconds between two looks at the schedule, at most. A drill is announced at any time, also where nothing is due for days."""


class Timed:
    """Tells the watchdog how long each look at the schedule takes."""

    pulse: Pulse

    def tick(self, *arguments: Any, **options: Any) -> Any:
        """Send what is due."""
        with self.pulse.at_work():
            return super().tick(*arguments, **options)  # type: ignore[misc]


class Fenced(Timed):
    """A scheduler that sends by the fence, whatever keeps its entries."""

    fence: Fence

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # RedBeat's own lock would be waited for, for minutes, after its leader is dead. The fleet's takes its place.
        if getattr(self, "lock_key", None):
            self.lock_key = None
        self._earlier = self.fence.read()

    def populate_heap(self, *arguments: Any, **options: Any) -> None:
        """Put the entries in the order of their times. Up to Celery 5.6, one that is not due after all holds the others up."""
        for entry in self.schedule.values():  # type: ignore[attr-defined]
            self._catch_up(entry)
        super().populate_heap(*arguments, **options)  # type: ignore[misc]

    def is_due(self, entry: Any) -> Any:
        """Whether an entry is due, by its own store and by what the leaders before have sent: a store may lag behind."""
        self._catch_up(entry)
        return super().is_due(entry)  # type: ignore[misc]

    def apply_async(self, entry: Any, *arguments: Any, **options: Any) -> Any:
        """Send a run."""
        with self.fence.run(entry.name, run_of(entry, entry.default_now(), (entry.total_run_count or 0) + 1)):
            result = super().apply_async(entry, *arguments, **options)  # type: ignore[misc]
        self._earlier.pop(entry.name, None)
        return result

    def _catch_up(self, entry: Any) -> None:
        """Until this leader has sent the entry: the store may be read again, which has no word of a run of the leader before."""
        if earlier := self._earlier.get(entry.name):
            at = time_of(earlier, self.app)  # type: ignore[attr-defined]
            if is_before(entry.last_run_at, at):
                entry.last_run_at = at


class FleetScheduler(Timed, Scheduler):  # type: ignore[misc]  # celery has no types
    """Celery's scheduler, with the runs of its entries in the broker's Redis."""

    fence: Fence
    _heap: Any  # of Celery's

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._unsure = False
        self._refused: set[str] = set()
        super().__init__(*arguments, **options)

    def setup_schedule(self) -> None:
        """Take the app's schedule, and the runs that the leaders before have written down."""
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)
        self._mind_drill()
        self._take_runs()

    def tick(self, *arguments: Any, **options: Any) -> Any:
        """Send what is due. If it is not known whether a run was sent, look it up first."""
        try:
            self._mind_drill()
            if self._unsure:
                self._take_runs()
        except RedisError as error:
            logger.warning("beat: the runs cannot be read: %r", error)
            return RETRY
        wait = super().tick(*arguments, **options)
        return RETRY if self._unsure else min(wait, LOOK)

    def populate_heap(self, *arguments: Any, **options: Any) -> None:
        """Put the entries in the order of their times. One that Redis has refused has its turn after those that are due: it may
        be its queue alone."""
        super().populate_heap(*arguments, **options)
        self._heap = [
            event._replace(time=event.time + RETRY) if event.entry.name in self._refused else event for event in self._heap
        ]
        heapify(self._heap)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send a due entry. A run that cannot be sent now is tried again. One that can never be sent is skipped."""
        logger.info("Scheduler: Sending due task %s (%s)", entry.name, entry.task)
        reserved = self.schedule[entry.name]
        run = run_of(entry, reserved.last_run_at, reserved.total_run_count)
        try:
            with self.fence.run(entry.name, run):
                self.apply_async(entry, producer=producer, advance=False)
            self._refused.discard(entry.name)
        except Exception as error:
            logger.error("Message Error: %s", error, exc_info=True)
            self._unsure = True
            self._refused.add(entry.name)
            if not self._is_of_broker(error.__context__):
                try:
                    self.fence.write({entry.name: run})
                    self._unsure = False
                except RedisError:
                    logger.warning("beat: the run of %s is not written down, and will be tried again", entry.name)

    def _is_of_broker(self, error: BaseException | None) -> bool:
        kinds = (OperationalError, *self.connection.connection_errors, *self.connection.channel_errors)
        return isinstance(error, kinds)

    def _take_runs(self) -> None:
        """Set each entry to its last run. An entry that has none begins now."""
        runs, write = self.fence.read(), dict[str, BeatRun | None]()
        for name, entry in self.schedule.items():
            if name in runs:
                entry.last_run_at = time_of(runs[name], self.app)
                entry.total_run_count = runs[name]["total_run_count"]
            else:
                entry.last_run_at = entry.default_now()
                write[name] = run_of(entry, entry.last_run_at, entry.total_run_count)
        write |= dict.fromkeys(runs.keys() - self.schedule.keys())
        if write:
            self.fence.write(write)
        self._heap, self._unsure = None, False

    def _mind_drill(self) -> None:
        """While a drill is announced, there is an entry of it."""
        drill = self.pulse.drill
        entry = self.schedule.get(BEAT_DRILL_ENTRY)
        if drill and entry is None:
            options = {"queue": BEAT_DRILL_ENTRY, "ignore_result": True}
            self.add(name=BEAT_DRILL_ENTRY, task=BEAT_DRILL_ENTRY, schedule=schedule(1.0, app=self.app), options=options)
            self._take_runs()
        elif not drill and entry is not None:
            del self.schedule[BEAT_DRILL_ENTRY]
            self._take_runs()


def time_of(run: BeatRun, app: Any) -> datetime:
    """When it was, in the app's time zone: Celery looks at the hours and days of a time as it is given."""
    at = datetime.fromisoformat(run["last_run_at"])
    return at if at.tzinfo is None else at.astimezone(app.timezone)


def is_before(one: datetime | None, other: datetime) -> bool:
    """Whether a time of an entry, with a zone or without, is before another."""
    if one is None:
        return True
    if (one.tzinfo is None) != (other.tzinfo is None):
        return one.astimezone() < other.astimezone()
    return one < other


def run_of(entry: Any, at: datetime, count: int) -> BeatRun:
    """What is written down of a run at a time, the `count`th of its entry."""
    before = entry.last_run_at
    return {"last_run_at": at.isoformat(), "total_run_count": count, "after": before.isoformat() if before else ""}


def of_leader(chosen: type, fence: Fence, pulse: Pulse) -> type:
    """The scheduler of a leader with a lock. chosen: what the app or the settings choose."""
    base: tuple[type, ...] = (FleetScheduler,) if chosen in (PersistentScheduler, Scheduler) else (Fenced, chosen)
    return type(chosen.__name__, base, {"fence": fence, "pulse": pulse})


def of_single(chosen: type, pulse: Pulse) -> type:
    """The scheduler of a beat that has no lock."""
    return type(chosen.__name__, (Timed, chosen), {"pulse": pulse})
