"""Whether a worker may go down, and whether a canary is well."""

from typing import Any

import pytest

from fleet_node.gate.canary import fails_more
from fleet_node.step.capacity import lacking, short, surging

WEB = {"web-worker-1@a": ["default", "priority"], "web-worker-1@b": ["default", "priority"], "batch-worker-1@c": ["batch"]}


@pytest.mark.parametrize(
    ("going", "keep", "wanted"),
    [
        (["web-worker-1@a"], {"default": 1, "priority": 1}, {}),
        (["web-worker-1@a"], {"default": 2}, {"default": 1}),
        (["web-worker-1@a", "web-worker-1@b"], {"default": 1}, {"default": 0}),
        (["batch-worker-1@c"], {"batch": 1}, {"batch": 0}),
        (["batch-worker-1@c"], {"batch": 0}, {}),
        ([], {"nobody": 1}, {"nobody": 0}),
    ],
)
def test_what_would_be_left_counts(going: list[str], keep: dict[str, int], wanted: dict[str, int]) -> None:
    assert short(WEB, going, keep) == wanted


def test_what_serves_a_short_queue_is_doubled() -> None:
    assert surging({"default": 0}, {"web@1": ["default"], "batch@1": ["batch"]}) == ["web@1"]
    assert surging({}, {"web@1": ["default"]}) == []


def test_second_ones_may_not_be_enough() -> None:
    assert lacking({"default": 0}, {"default": 1}, [["default", "priority"]]) == {}
    assert lacking({"default": 0}, {"default": 2}, [["default"], ["batch"]]) == {"default": 1}


def state(failed: int, succeeded: int) -> dict[str, Any]:
    return {"failed": failed, "succeeded": succeeded}


@pytest.mark.parametrize(
    ("canary", "others", "bad"),
    [
        (state(0, 0), [state(0, 100)], False),
        (state(2, 0), [state(0, 1000)], False),  # chance, or one bad argument
        (state(3, 0), [state(0, 10)], True),
        (state(3, 300), [state(10, 1000)], False),
        (state(50, 50), [state(50, 50), state(48, 52)], False),  # what they call is down for all
        (state(50, 50), [state(10, 90), state(12, 88)], True),
        (state(4, 0), [], True),
        (state(4, 6), [], False),
        (state(5000, 5000), [state(10, 100000)], True),
        (state(80, 7920), [state(50_000, 4_950_000)], False),
        (state(400, 7600), [state(50_000, 4_950_000)], True),
    ],
)
def test_a_canary_that_fails_more_than_the_others(canary: Any, others: Any, bad: bool) -> None:
    assert (fails_more(canary, others) is not None) == bad


def test_the_numbers_are_told() -> None:
    assert fails_more(state(5, 1), [state(1, 99)]) == "5 of 6 tasks failed, of the others' 1 of 100"
