"""The phases of a drill, before they are done. The lab tries them as a whole."""

import io

import pytest
from rich.console import Console

from fleet.drill import report
from fleet.drill.errors import DrillError
from fleet.drill.phases import PHASES, complete
from fleet.drill.runs import FinishedRun


@pytest.mark.parametrize(
    ("names", "completed"),
    [
        (["release"], ["release", "as before"]),
        (["release", "as before", "restart"], ["release", "as before", "restart"]),
        (["as before", "killed"], ["as before", "killed", "as before"]),
        (["restart"], ["restart"]),
        (["never ready"], ["never ready"]),
        (list(PHASES), list(PHASES)),
    ],
)
def test_a_drill_ends_on_the_release_that_was_there(names: list[str], completed: list[str]) -> None:
    assert complete(names) == completed


@pytest.mark.parametrize(
    ("names", "message"), [(["nonsense"], "no 'nonsense'; there are: release, "), ([], "write at least one of: ")]
)
def test_phases_that_do_not_exist(names: list[str], message: str) -> None:
    with pytest.raises(DrillError, match=message):
        complete(names)


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (FinishedRun(0, "Error: mended\n"), ""),
        (FinishedRun(1, "--> Step\nError: no such host\n    bye\n"), "exit 1: Error: no such host"),
        (FinishedRun(1, "[web1] Error: gone\n--> note: a defect: AttributeError\n"), "exit 1: [web1] Error: gone"),
        (FinishedRun(2, "nothing\n"), "exit 2: see the log"),
    ],
)
def test_why_a_run_of_pyinfra_failed(run: FinishedRun, problem: str) -> None:
    assert run.problem == problem


def test_the_steps_of_a_run_are_counted() -> None:
    assert FinishedRun(1, "--> Starting operation: Step 1 of 2: canary\n--> Starting operation: Drain\n").steps == 1


def test_the_account_has_a_row_for_each_phase() -> None:
    counts = {"sent": 8, "finished": 7, "lost": 1, "run_twice": 0, "longest_wait": {"default": 0.5, "batch": 4.0}}
    phases = [
        {"name": "release", "seconds": 12.5, "went_wrong": None, **counts},
        {"name": "killed", "seconds": 3.0, "went_wrong": "it could not be killed: no step had begun", **counts},
    ]
    out = io.StringIO()
    report.show({"phases": phases, "seconds": 20.0, **counts}, Console(file=out, width=200))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert lines[1][1:4] == ["phase", "┃", "expected"]
    release = next(line for line in lines if "release" in line)
    assert [word for word in release if word != "│"] == ["release", "yes", "12.5", "8", "7", "1", "0", "4", "s", "(batch)"]
    assert "it could not be killed: no step had begun" in out.getvalue()
