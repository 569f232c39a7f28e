"""The drill of beat: on real beats, and how what they sent is judged."""

from pathlib import Path
from typing import Any

import pytest

from fleet.drill import beat
from fleet.drill.beat import BeatOutcome, judge, kill_command
from fleet.drill.errors import DrillError
from fleet_node.protocol import BEAT_DRILL_ENTRY
from tests.unit.fleet_node.beat.beat_support import beats


def sent(*runs: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Runs of (count, the second of the run before it, its own second)."""
    day = "2026-01-01T00:00:{:02}+00:00"
    return [{"total_run_count": n, "after": day.format(after), "last_run_at": day.format(at)} for n, after, at in runs]


@pytest.mark.parametrize(
    ("runs", "problems", "longest"),
    [
        ([], [], 0),
        ([(1, 0, 1), (2, 1, 2), (3, 2, 17), (4, 17, 18)], [], 15),
        ([(1, 0, 1), (2, 3, 4)], ["skipped: nothing was sent for what was due from 2026-01-01T00:00:01"], 1),
        ([(1, 0, 1), (2, 1, 2), (2, 1, 3)], ["doubled: what was due from 2026-01-01T00:00:01"], 2),
        ([(1, 0, 1), (3, 1, 2)], ["run 3 follows run 1"], 1),
    ],
)
def test_what_was_sent_is_judged(runs: list[tuple[int, int, int]], problems: list[str], longest: float) -> None:
    found, seconds = judge(sent(*runs))
    assert [text[: len(problem)] for text, problem in zip(found, problems, strict=True)] == problems
    assert seconds == longest


def test_a_takeover_that_is_late_is_a_problem() -> None:
    assert BeatOutcome("beat@a", "beat@b", 12.0).all_problems == []
    assert BeatOutcome("beat@a", "beat@b", 31.0).all_problems == ["another led after 31.0 s, and should within 30 s"]
    assert BeatOutcome("beat@a", "", 90.0).all_problems == ["nobody led, and should within 30 s"]


def test_a_beat_with_a_standby_stays_away_for_a_while_and_comes_back_by_itself() -> None:
    assert kill_command(alone=True) == "systemctl kill --kill-whom=all --signal=KILL celery-beat.service"
    assert "systemctl start celery-beat.service" in kill_command(alone=False)


SELDOM = """
from celery import Celery
from celery.schedules import crontab
app = Celery("jobs")
app.conf.beat_schedule = {
    "often": {"task": "jobs.often", "schedule": crontab(minute=0, hour=0, day_of_month=1, month_of_year=1)},
}
"""


@pytest.mark.long
def test_the_drill_where_nothing_is_due_for_months(tmp_path: Path) -> None:
    with beats(tmp_path, SELDOM) as here, here.redis() as redis:
        here.start("a")
        here.start("b")
        outcome = beat.run(redis, "", lambda node: here.end(node.removeprefix("beat@")), lambda _: None, 0)
        assert (outcome.killed, outcome.leader, outcome.all_problems) == ("beat@a", "beat@b", [])
        assert outcome.counted and outcome.sent >= 6


@pytest.mark.long
def test_the_drill_on_two_beats(tmp_path: Path) -> None:
    lines: list[str] = []
    with beats(tmp_path) as here, here.redis() as redis:
        with pytest.raises(DrillError, match="no beat leads"):
            beat.run(redis, "", lambda _: None, lines.append, 0)
        here.start("a")
        here.start("b")
        outcome = beat.run(redis, "", lambda node: here.end(node.removeprefix("beat@")), lines.append, 0)
        assert (outcome.killed, outcome.leader, outcome.all_problems) == ("beat@a", "beat@b", [])
        assert outcome.counted and outcome.sent >= 6
        left = [key for key in redis.keys("*") if BEAT_DRILL_ENTRY in key]
        assert left == []
        assert here.goes_on() and here.problems("often") == []
