"""Times of runs, as they are written down and read."""

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.beat import PersistentScheduler, ScheduleEntry, Scheduler
from celery.schedules import crontab

from fleet_node.beat.scheduler import Fenced, FleetScheduler, is_before, of_leader, run_of, time_of

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)
ANY: Any = SimpleNamespace()


def test_a_daily_entry_is_due_at_its_hour_on_the_day_that_the_clocks_change() -> None:
    """Celery looks at the hour of the last run as it is given."""
    app = Celery(set_as_current=False)
    app.conf.timezone = "Europe/Berlin"
    now = datetime(2026, 3, 29, 10, tzinfo=ZoneInfo("Europe/Berlin"))
    daily = crontab(minute=0, hour=9, app=app, nowfun=lambda: now)
    entry = ScheduleEntry(name="daily", schedule=daily, app=app, last_run_at=now - timedelta(days=2))
    yesterday = now.replace(day=28, hour=9)
    kept = time_of(run_of(entry, yesterday.astimezone(UTC), 1), app)
    assert (kept, kept.hour) == (yesterday, 9)
    entry.last_run_at = kept
    assert entry.is_due().is_due
    entry.last_run_at = time_of(run_of(entry, now.replace(hour=9).astimezone(UTC), 2), app)
    assert not entry.is_due().is_due


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (None, NOON, True),
        (NOON, NOON, False),
        (NOON, NOON + timedelta(seconds=1), True),
        (NOON.astimezone(timezone(timedelta(hours=5))), NOON + timedelta(seconds=1), True),
        (NOON.astimezone().replace(tzinfo=None), NOON + timedelta(seconds=1), True),
        (NOON.astimezone().replace(tzinfo=None), NOON, False),
    ],
)
def test_times_with_and_without_a_zone_are_compared(one: datetime | None, other: datetime, expected: bool) -> None:
    assert is_before(one, other) == expected


def test_a_scheduler_of_others_stays_what_it_is() -> None:
    class Other(Scheduler):  # type: ignore[misc]
        pass

    assert issubclass(of_leader(PersistentScheduler, ANY, ANY), FleetScheduler)
    other = of_leader(Other, ANY, ANY)
    assert issubclass(other, Other) and issubclass(other, Fenced) and other.__name__ == "Other"
