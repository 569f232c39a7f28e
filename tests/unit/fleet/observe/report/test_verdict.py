"""What a report says first."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleet.observe.report.statistics import statistics
from fleet.observe.report.timeline import Failure, Grid, Mark, QueueSeries, RoleSeries, Timeline, Values, WorkerSeries
from fleet.observe.report.units import NBSP
from fleet.observe.report.verdict import verdict
from tests.unit.fleet.observe.report.report_support import made_up

POINTS = 60


def flat(value: float | None) -> Values:
    return (value,) * POINTS


QUEUE = QueueSeries(flat(2), flat(3), flat(1), flat(1), flat(0))
QUIET = Timeline(
    "Prometheus",
    Grid(0, 60, POINTS),
    flat(1),
    {"default": QUEUE},
    {"web": RoleSeries(flat(2), flat(4))},
    {"web-worker-1@web1": WorkerSeries("web", flat(50), flat(100))},
    objectives={"default": 10.0},
)
OLD = replace(QUEUE, age=(*(700.0,) * 10, *(2.0,) * 50))


@pytest.mark.parametrize(
    ("change", "level", "sentence"),
    [
        (
            {},
            "good",
            "Every queue kept its objective: the oldest task waited 2 s, in default; 3,600 tasks began and 0 failed.",
        ),
        ({"objectives": {}}, "good", "No fault: the oldest task waited 2 s, in default; 3,600 tasks began and 0 failed."),
        ({"queues": {}}, "good", "No fault, and no queue: 0 tasks began and 0 failed."),
        (
            {"queues": {"default": OLD}},
            "bad",
            "Tasks in default waited up to 12 min, and were above their objective of 10 s for 10 min.",
        ),
        (
            {"queues": {"default": OLD}, "objectives": {}},
            "watch",
            "Tasks in default, which has no objective, waited up to 12 min.",
        ),
        ({"away_s": 90.0}, "bad", "The broker was away for 90 s."),
        (
            {"marks": (Mark(60, None, "fault", "n had a process killed for memory"),)},
            "bad",
            "1 fault, at 00:01: n had a process killed for memory.",
        ),
        ({"marks": (Mark(60, 90, "rollout", "r", failed=True),)}, "bad", "1 rollout did not end well, at 00:01."),
        ({"marks": (Mark(60, 90, "rollout", "r"),)}, "good", None),
        (
            {"marks": (Mark(60, 90, "alert", "alert QueueTooOld"),)},
            "bad",
            "1 alert fired, at 00:01: alert QueueTooOld.",
        ),
        (
            {"queues": {"default": replace(QUEUE, failed=flat(0.1))}, "failures": (Failure("shop.pay", "Timeout", 360),)},
            "watch",
            "10.0 % of the tasks failed, most often shop.pay with Timeout.",
        ),
        (
            {"workers": {"n": WorkerSeries("web", flat(97), flat(100))}},
            "watch",
            "The worker n came to 97 % of its memory limit.",
        ),
        ({"workers": {"n": WorkerSeries("web", flat(97), flat(None))}}, "good", None),
        (
            {"roles": {"web": RoleSeries(flat(4), flat(4))}},
            "watch",
            "The role web had 90 % or more of its slots busy for 60 min.",
        ),
        ({"known": (*(None,) * 5, *(1.0,) * 55)}, "watch", "Nothing is known of 5 min of the time."),
    ],
)
def test_the_sentence(change: Mapping[str, Any], level: str, sentence: str | None) -> None:
    timeline = replace(QUIET, **change)
    found = verdict(timeline, statistics(timeline))
    assert found.level == level
    assert sentence is None or found.sentence.replace(NBSP, " ") == sentence


def test_the_worst_comes_first_and_the_rest_is_counted() -> None:
    timeline = made_up()
    found = verdict(timeline, statistics(timeline))
    assert found.level == "bad"
    assert found.sentence.startswith("The broker was away for ")
    assert found.sentence.endswith("more.")
    assert found.sentence.count(";") == 3


def test_queues_above_their_objective_come_first() -> None:
    of = statistics(made_up())
    assert [queue.name for queue in of.queues][:3] == ["default", "thumbnails", "reports"]
    assert of.queues[0].over_s > of.queues[1].over_s > 0
    assert of.workers[0].share == max(worker.share or 0 for worker in of.workers)


def test_a_second_worker_of_a_rollout_is_not_counted_among_the_slots() -> None:
    """While a worker is replaced, another one is there."""
    batch = RoleSeries(flat(1), (*(2.0,) * 5, *(1.0,) * 55))
    assert statistics(replace(QUIET, roles={"batch": batch})).roles[0].slots == 1
