"""What a worker counts, without a worker."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from fleet_node import counters
from fleet_node.counters import Counters, Histogram
from fleet_node.protocol import OTHER, RUNTIME_BUCKETS
from fleet_node.sent import sent_at

NOW = 1_800_000_000.0


def test_a_histogram_counts_each_value_in_its_bucket() -> None:
    histogram = Histogram((1, 2, 5))
    assert histogram.plain() == []
    for value in (0.5, 1, 1.5, 100):
        histogram.observe(value)
    assert histogram.plain() == [103, 2, 1, 0, 1]
    histogram = Histogram(RUNTIME_BUCKETS)
    histogram.observe(0.001)
    assert histogram.plain() == [0.001, 1]


def test_counts_that_are_zero_are_left_out() -> None:
    counts = Counters()
    series = counts.of("t", "q")
    series.started += 2
    series.fail("ValueError")
    assert counts.of("t", "q") is series
    counts.of("t", None).revoked += 1
    assert counts.plain() == [
        {"task": "t", "queue": "q", "received": 2, "started": 2, "failed": {"ValueError": 1}},
        {"task": "t", "queue": "", "received": 1, "revoked": 1},
    ]


def test_what_is_held_was_received_and_a_count_never_goes_back() -> None:
    counts = Counters()
    assert counts.plain({("t", "q"): 3}) == [{"task": "t", "queue": "q", "received": 3}]
    counts.of("t", "q").started += 2
    assert counts.plain({("t", "q"): 3})[0]["received"] == 5
    assert counts.plain()[0]["received"] == 5, "three were given back"


def test_what_an_app_makes_up_is_bounded() -> None:
    counts = Counters()
    for number in range(counters.MOST_SERIES + 10):
        counts.of("t", f"user-{number}").started += 1
    plain = counts.plain()
    assert len(plain) == counters.MOST_SERIES + 1
    assert plain[-1] == {"task": OTHER, "queue": OTHER, "received": 10, "started": 10}
    series = counts.of("t", "user-1")
    for number in range(counters.MOST_EXCEPTIONS + 5):
        series.fail(f"Error{number}")
    assert len(series.failed) == counters.MOST_EXCEPTIONS + 1
    assert series.failed[OTHER] == 5


@pytest.mark.parametrize(
    ("headers", "properties", "eta", "expected"),
    [
        ({}, {}, None, None),
        ({"fleet_sent_at": NOW}, {}, None, NOW),
        ({"fleet_sent_at": str(NOW)}, {}, None, NOW),
        ({"sentry-task-enqueued-time": NOW}, {}, None, NOW),
        ({"sentry-task-enqueued-time": NOW * 1000}, {}, None, NOW),
        ({"fleet_sent_at": "soon", "kanari_sent_ts": NOW}, {}, None, NOW),
        ({}, {"published_at": NOW}, None, NOW),
        ({"timestamp": 0}, {"timestamp": None}, None, None),
        ({"fleet_sent_at": float("nan")}, {}, None, None),
        ({"fleet_sent_at": NOW}, {}, NOW + 60, NOW + 60),
        ({"fleet_sent_at": NOW}, {}, NOW - 60, NOW),
        ({"fleet_sent_at": NOW, "retries": 1}, {}, None, None),
        ({"fleet_sent_at": NOW, "retries": 1}, {"fleet_sent_before": NOW + 9}, None, NOW + 9),
        ({"fleet_sent_at": NOW, "retries": 1}, {"fleet_sent_before": NOW}, NOW + 5, NOW + 5),
        ({}, {}, NOW + 60, None),
        ({}, {"fleet_sent_before": NOW}, None, NOW),
        ({"fleet_sent_at": NOW}, {"fleet_sent_before": NOW + 1}, None, NOW),
    ],
)
def test_when_a_task_was_sent(
    headers: dict[str, Any], properties: dict[str, Any], eta: float | None, expected: float | None
) -> None:
    time = eta and datetime.fromtimestamp(eta, UTC)
    request = SimpleNamespace(_request_dict=headers, _eta=time, _message=SimpleNamespace(properties=properties))
    assert sent_at(request) == expected
