"""Whether a canary does worse than its peers."""

import pytest

from fleet_node.gate.canary import Counts, Verdict, fails_more, verdict


def state(failed: int, succeeded: int) -> Counts:
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
def test_a_canary_that_fails_more_than_the_others(canary: Counts, others: list[Counts], bad: bool) -> None:
    assert (fails_more(canary, others) is not None) == bad


def test_the_numbers_are_told() -> None:
    assert fails_more(state(5, 1), [state(1, 99)]) == "5 of 6 tasks failed, of the others' 1 of 100"


def test_a_canary_is_compared_with_what_its_peers_did_meanwhile() -> None:
    before, now = {"a": state(90, 10), "b": state(0, 0)}, {"a": state(90, 110), "new": state(9, 0)}
    assert verdict(state(5, 1), before, now, []) == Verdict("5 of 6 tasks failed, of the others' 0 of 100", enough=True)
    # As long as the peers are busy and the canary hardly is, it says nothing.
    assert verdict(state(1, 1), before, now, []) == Verdict(None, enough=False)


def test_a_canary_whose_peers_are_idle_is_compared_with_their_past_or_with_its_predecessor() -> None:
    idle = {"a": state(2, 998)}
    assert verdict(state(4, 0), idle, idle, [state(900, 0)]) == Verdict(
        "4 of 4 tasks failed, of the others' 2 of 1000", enough=True
    )
    assert verdict(state(4, 0), {}, {}, [state(0, 50)]) == Verdict("4 of 4 tasks failed, of the others' 0 of 50", enough=True)
    assert verdict(state(4, 0), {}, {}, []) == Verdict("4 of 4 tasks failed, and no other worker has ended one", enough=True)
