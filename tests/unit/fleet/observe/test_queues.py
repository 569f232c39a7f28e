"""The queues of a fleet, put together from what was read."""

import json
from typing import Any

import pytest

from fleet.broker.ages import Age, QueueAge
from fleet.broker.redis import parked_in
from fleet.observe.queues import Queue, Sample, queues_as_json, queues_of
from fleet_node.protocol import WorkerSign
from tests.unit.fleet.observe.test_states import sign
from tests.unit.fleet_support import fleet_of, plan_of

pytestmark = pytest.mark.usefixtures("app_folder")


def worker(started: int, held: dict[str, list[int]] | None = None, queue: str = "default") -> WorkerSign:
    return sign(queues=[queue], held=held or {}, tasks=[{"task": "t", "queue": queue, "started": started}])


def waits(*numbers: int, oldest: Age | None = None) -> QueueAge:
    return QueueAge(dict(zip((0, 3, 6, 9), numbers, strict=False)), oldest, 0.0)


def queues(before: Sample | None, now: Sample) -> dict[str, Queue]:
    plan = plan_of(fleet_of({"web": {"queues": ["default"], "concurrency": 4, "instances": 1, "min_consumers": 1}}))
    return {queue.name: queue for queue in queues_of(plan, before, now)}


def test_a_queue_is_put_together() -> None:
    signs = {"a": worker(7, {"default": [2, 3, 1]}), "b": worker(5)}
    silent = {"c": {"default": 4, "other": 9}, "d": {"default": 1}}
    returns: dict[str, float | None] = {"c": 40.0, "d": 12.0}
    now = Sample(100.0, signs, {"default": waits(5, 2, oldest=Age(9.6, 10.4))}, silent, returns, {"default": 3})
    queue = queues(None, now)["default"]
    assert (queue.waiting, queue.by_priority, queue.oldest) == (7, {0: 5, 3: 2}, Age(9.6, 10.4))
    assert (queue.running, queue.prefetched, queue.eta, queue.orphaned, queue.back_s) == (2, 3, 1, 5, 40.0)
    assert (queue.consumers, queue.expected, queue.minimum, queue.dead_letters) == (2, 2, 1, 3)
    assert (queue.in_s, queue.out_s, queue.drained_s, queue.is_served) == (None, None, None, True)
    plain = queues_as_json([queue], {})["queues"]["default"]
    assert (plain["waiting"], plain["oldest_s"], plain["oldest_bounds_s"]) == (7, 10.0, [9.6, 10.4])
    assert json.loads(json.dumps(plain)) == plain


def test_what_has_no_lease_comes_back_nobody_knows_when() -> None:
    now = Sample(100.0, {}, {"default": waits(0)}, {"c": {"default": 4}}, {"c": None})
    assert (queues(None, now)["default"].orphaned, queues(None, now)["default"].back_s) == (4, None)


@pytest.mark.parametrize(
    ("before", "now", "rates", "drained"),
    [
        ((100, 10), (120, 10), (10.0, 10.0), None),  # as much comes as goes
        ((100, 40), (120, 20), (0.0, 10.0), 2.0),
        ((100, 40), (120, 30), (5.0, 10.0), 6.0),
        ((100, 10), (100, 30), (10.0, 0.0), None),
        ((100, 10), (3, 10), (0.0, 0.0), None),  # its worker was started again
        ((100, 10), (120, 0), (5.0, 10.0), 0.0),
    ],
)
def test_rates(before: tuple[int, int], now: tuple[int, int], rates: tuple[float, float], drained: float | None) -> None:
    then, since = (
        Sample(at, {"a": worker(started)}, {"default": waits(waiting)})
        for at, (started, waiting) in ((100.0, before), (102.0, now))
    )
    queue = queues(then, since)["default"]
    assert ((queue.in_s, queue.out_s), queue.drained_s) == (rates, drained)


def test_a_worker_that_came_between_two_looks_counts_for_no_rate() -> None:
    then = Sample(100.0, {"a": worker(10)}, {"default": waits(5)})
    now = Sample(102.0, {"a": worker(12), "b": worker(1000)}, {"default": waits(5)})
    assert (queues(then, now)["default"].in_s, queues(then, now)["default"].out_s) == (1.0, 1.0)


def test_who_is_slow_to_answer_still_consumes() -> None:
    now = Sample(100.0, {}, {"default": waits(5)}, last_signs={"a": worker(7, {"default": [1, 0, 0]})})
    queue = queues(None, now)["default"]
    assert (queue.consumers, queue.running, queue.is_served) == (1, 1, True)


def test_a_queue_that_nobody_consumes_is_shown_while_tasks_wait_in_it() -> None:
    now = Sample(100.0, {"a": worker(1)}, {"gone": waits(3), "empty": waits(0), "fleet.probe.x": waits(1)})
    found = queues(None, now)
    assert list(found) == ["default", "gone"]
    assert not found["gone"].is_served


def test_dead_letters_are_counted_by_queue() -> None:
    letters: list[Any] = ['{"queue": "a"}', '{"queue": "a"}', "{", "{}"]
    assert parked_in(letters) == {"a": 2}
