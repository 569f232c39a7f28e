"""What workers have counted, as a demand."""

import random
from statistics import fmean, pvariance

import pytest

from fleet.capacity.measured import added_up, kinds_of, service_of
from fleet_node.counters import Histogram
from fleet_node.protocol import RUNTIME_BUCKETS, TaskCounts


def histogram(times: list[float]) -> list[float]:
    """As a worker sends it."""
    of = Histogram(RUNTIME_BUCKETS)
    for time in times:
        of.observe(time)
    return of.plain()


@pytest.mark.parametrize(
    "times",
    [
        [0.7] * 100,
        [random.Random(n).expovariate(1 / 0.3) for n in range(4000)],
        [random.Random(n).lognormvariate(-1, 1.2) for n in range(4000)],
        [0.02] * 900 + [4.0] * 100,
    ],
)
def test_the_mean_is_exact_and_the_spread_is_near(times: list[float]) -> None:
    kind = service_of(histogram(times))
    assert kind.weight == len(times)
    assert kind.mean == pytest.approx(fmean(times), rel=1e-4)
    assert kind.spread == pytest.approx(pvariance(times) / fmean(times) ** 2, rel=0.15, abs=0.1)


def test_workers_are_added_up_and_queues_kept_apart() -> None:
    parts = [histogram([0.1] * 30), histogram([3.0] * 10)]
    assert service_of(added_up(parts)).mean == pytest.approx(0.825)
    counts: list[TaskCounts] = [
        {"task": "mail", "queue": "default", "runtime": parts[0]},
        {"task": "mail", "queue": "default", "runtime": parts[1]},
        {"task": "mail", "queue": "batch", "runtime": histogram([9.0] * 50)},
        {"task": "rare", "queue": "default", "runtime": histogram([60.0])},
        {"task": "none", "queue": "default", "received": 4},
    ]
    (kind,) = kinds_of(counts, {"default"})
    assert [kind.weight, kind.mean] == pytest.approx([40, 0.825])
    assert kinds_of(counts, {"other"}) == ()
