"""Which findings are new."""

from dataclasses import replace

import pytest

from fleet.lint import Finding
from fleet.lint.news import MOST, Reported, arranged, count, mark, remember

ODD = Finding("a-rule", "warning", "web_worker.queues", "is odd", ("web1", "web2"))
KNOWN = remember(Reported(), {"lint": [ODD]}, whole=True)


@pytest.mark.parametrize(
    ("finding", "is_new"),
    [
        (ODD, False),
        (replace(ODD, hosts=("web1",)), False),
        (replace(ODD, hosts=()), False),
        (replace(ODD, hosts=("web1", "web9")), True),
        (replace(ODD, level="error"), True),
        (replace(ODD, path="batch_worker.queues"), True),
        (replace(ODD, rule="b-rule"), True),
        (replace(ODD, message="is 2 odd"), True),
        (replace(ODD, silenced="known"), False),
    ],
)
def test_what_is_new(finding: Finding, is_new: bool) -> None:
    assert [marked.new for marked in mark([finding], KNOWN)] == [is_new]


def test_everything_is_new_at_first() -> None:
    assert mark([ODD], Reported()) == (ODD,)


def test_numbers_that_move_are_no_news() -> None:
    waiting = Finding("preflight", "note", "broker", "3 tasks wait in old", about="# tasks wait in old")
    known = remember(Reported(), {"broker": [waiting]}, whole=True)
    (marked,) = mark([replace(waiting, message="4 tasks wait in old")], known)
    assert not marked.new


def test_a_look_forgets_what_it_does_not_find_any_more_and_no_other_look_does() -> None:
    known = remember(KNOWN, {"deploy": []}, whole=True)
    assert not mark([ODD], known)[0].new
    known = remember(known, {"lint": []}, whole=True)
    assert mark([ODD], known)[0].new


def test_a_look_at_some_hosts_forgets_nothing_of_the_others() -> None:
    known = remember(KNOWN, {"lint": [replace(ODD, hosts=("web3",))]}, whole=False)
    assert not mark([replace(ODD, hosts=("web1", "web2", "web3"))], known)[0].new
    assert not mark([ODD], remember(KNOWN, {"lint": []}, whole=False))[0].new


def test_what_is_kept_is_bounded_and_tells_nothing() -> None:
    many = [replace(ODD, message=f"password-{number}") for number in range(MOST + 10)]
    text = remember(Reported(), {"lint": many}, whole=True).model_dump_json()
    assert "password" not in text
    assert len(text) < 100 * MOST


def test_the_order_and_what_is_only_counted() -> None:
    old, note = replace(ODD, new=False), replace(ODD, level="note")
    error = replace(ODD, level="error", new=False)
    of_run = replace(old, of_run=True)
    silenced = replace(error, silenced="known")
    findings = [old, silenced, note, of_run, ODD, error]
    assert arranged(findings, verbose=False) == ([error, of_run, ODD, note], [old, silenced])
    assert arranged(findings, verbose=True) == ([error, of_run, ODD, note, old, silenced], [])
    assert count([old, silenced, old, note]) == "2 warnings, 1 note, 1 silenced"
