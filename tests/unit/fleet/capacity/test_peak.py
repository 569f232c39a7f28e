"""The busiest hour."""

import pytest

from fleet.capacity.peak import busiest
from fleet.observe.report.timeline import Grid, QueueSeries, Timeline, Values

NOTHING: Values = (None,) * 24


def day(**incoming: Values) -> Timeline:
    """A day in steps of 20 minutes of the first 8 hours."""
    queues = {name: QueueSeries(NOTHING, NOTHING, values, NOTHING, NOTHING) for name, values in incoming.items()}
    return Timeline("a test", Grid(0, 1200, 24), (1.0,) * 24, queues, {}, {}, (), (), 0.0)


def test_it_is_an_hour_of_all_queues_together() -> None:
    # 30 for one step alone is no hour; 12, 13, 14 is one.
    web = (1.0,) * 10 + (30.0, 1.0, 1.0) + (1.0,) * 4 + (10.0, 11.0, 12.0) + (1.0,) * 4
    timeline = day(web=web, low=(2.0,) * 24, other=(100.0,) * 24)
    peak = busiest(timeline, ["web", "low"])
    assert peak is not None
    assert (peak.rate, peak.hours) == pytest.approx((13, 8))


def test_what_is_not_known_does_not_count() -> None:
    peak = busiest(day(web=(None,) * 20 + (4.0, None, 2.0, None)), ["web"])
    assert peak is not None
    assert (peak.rate, peak.hours) == pytest.approx((3, 2 / 3))
    assert busiest(day(web=NOTHING), ["web"]) is None
    assert busiest(day(), ["web"]) is None
