"""Whether a worker may go down."""

import pytest

from fleet_node.step.capacity import still_underserved, to_double, underserved

WEB = {"web-worker-1@a": ["default", "priority"], "web-worker-1@b": ["default", "priority"], "batch-worker-1@c": ["batch"]}


@pytest.mark.parametrize(
    ("stopping", "min_consumers", "expected"),
    [
        (["web-worker-1@a"], {"default": 1, "priority": 1}, {}),
        (["web-worker-1@a"], {"default": 2}, {"default": 1}),
        (["web-worker-1@a", "web-worker-1@b"], {"default": 1}, {"default": 0}),
        (["batch-worker-1@c"], {"batch": 1}, {"batch": 0}),
        (["batch-worker-1@c"], {"batch": 0}, {}),
        ([], {"nobody": 1}, {"nobody": 0}),
    ],
)
def test_what_would_be_left_counts(stopping: list[str], min_consumers: dict[str, int], expected: dict[str, int]) -> None:
    assert underserved(WEB, stopping, min_consumers) == expected


def test_what_serves_a_short_queue_is_doubled() -> None:
    assert to_double({"default": 0}, {"web@1": ["default"], "batch@1": ["batch"]}) == ["web@1"]
    assert to_double({}, {"web@1": ["default"]}) == []


def test_second_ones_may_not_be_enough() -> None:
    assert still_underserved({"default": 0}, {"default": 1}, [["default", "priority"]]) == {}
    assert still_underserved({"default": 0}, {"default": 2}, [["default"], ["batch"]]) == {"default": 1}
