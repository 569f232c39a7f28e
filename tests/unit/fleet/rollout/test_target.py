"""Which release a rollback goes to."""

from typing import Any

import pytest

from fleet.rollout.target import NoReleaseError, select


def run(release: str, outcome: str = "done", what: str = "deploy.py") -> dict[str, Any]:
    return {"what": what, "at": "2026-11-21T12:00:00Z", "outcome": outcome, "releases": {"3.11": release}, "app": "shop.app"}


def back(release: str, outcome: str = "done") -> dict[str, Any]:
    return run(release, outcome, "rollback.py")


RESTART = {"what": "restart.py", "at": "2026-11-21T13:00:00Z", "outcome": "done"}


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([run("a"), run("b")], "a"),
        ([run("a"), run("b"), RESTART], "a"),
        ([run("a"), run("b"), run("b")], "a"),  # a changed flag is no other release
        ([run("a"), run("b", "failed")], "a"),  # what the failed run left of a stays, what it left of b goes
        ([run("a"), run("b"), run("c", "failed")], "b"),
        ([run("a"), run("b", "failed"), run("c")], "a"),
        ([run("a"), run("b", "interrupted"), run("c")], "a"),
        ([run("a"), run("b"), run("c"), back("b")], "a"),  # and further back: c was fled from
        ([run("a"), run("b"), back("a", "interrupted")], "a"),  # the same again, and not forward to b
        ([run("a"), run("b"), back("a", "failed")], "a"),
        ([run("z"), run("a"), run("b"), back("a", "killed"), run("b", "failed")], "a"),
        ([run("a"), run("b"), back("a"), run("b"), run("c")], "b"),  # mended, it seems: deployed again
        ([run("z"), run("a"), run("a", "failed")], "z"),  # a change of settings failed; back is back
        ([run("z"), run("a"), run("a", "failed"), run("b")], "a"),  # and a is as good as it was
        ([run("a"), run("b", "failed"), run("b"), run("c")], "b"),  # mended, it seems: by its last run
    ],
)
def test_the_last_good_one_that_is_not_the_current_one(runs: list[dict[str, Any]], expected: str) -> None:
    assert select(runs).ids == (("3.11", expected),)


def test_one_by_name() -> None:
    runs = [run("a"), run("b"), run("c"), run("d", "failed")]
    assert select(runs, "a").ids == (("3.11", "a"),)
    with pytest.raises(NoReleaseError, match=r"the last deploy of d failed .*: c \(2026-11-21T12:00:00Z\), b \("):
        select(runs, "d")
    with pytest.raises(NoReleaseError, match="no run has brought x; to go back to there are: c"):
        select(runs, "x")


@pytest.mark.parametrize(
    "runs", [[], [RESTART], [run("a")], [run("a", "failed")], [run("a", "failed"), run("b")], [run("a"), run("b"), back("a")]]
)
def test_where_there_is_none_it_is_said(runs: list[dict[str, Any]]) -> None:
    with pytest.raises(NoReleaseError, match="there is no earlier release whose deploy ended well"):
        select(runs)


def test_machines_with_different_pythons_go_back_together() -> None:
    both = {**run("a"), "releases": {"3.11": "a", "3.13": "a13"}}
    assert select([both, run("b")], "a13").ids == (("3.11", "a"), ("3.13", "a13"))
