"""A hook of the user's, on a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.rollout.hooks import HookRun, parse, summarize
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import ROOT

SECRET = "correct-horse"


def run(command: str, seconds: float = 30, **environment: str) -> HookRun:
    """Run it as a machine does, and read what it printed as a deploy does."""
    done = subprocess.run(
        [sys.executable, "-m", "fleet_node.app.hook", str(seconds), command],
        input="".join(f"{name}={value}\n" for name, value in environment.items()),
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    ended = parse("before_rollout", "web1", done.stdout.splitlines())
    assert done.returncode == ended["code"]
    return ended


def test_it_has_the_environment_and_the_python_of_the_workers() -> None:
    ended = run("echo $SHOP; command -v python; printf last", SHOP="books")
    assert ended["code"] == 0
    assert ended["lines"] == ["books", str(Path(sys.executable).parent / "python"), "last"]
    assert summarize(ended).startswith("before_rollout: done in ")


def test_what_it_prints_has_no_secret() -> None:
    ended = run("echo using $TOKEN >&2; exit 7", TOKEN=SECRET)
    assert (ended["code"], ended["lines"]) == (7, ["using <TOKEN>"])
    assert summarize(ended) == "before_rollout failed with exit code 7: using <TOKEN>"


@pytest.mark.parametrize("command", ["kill -TERM $$", "exit 143"])
def test_a_signal_is_a_failure(command: str) -> None:
    assert run(command)["code"] == 143


def test_nothing_is_left_after_its_time(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    ended = run(f"sleep 600 & echo $! >{pid}; wait", seconds=1)
    assert (ended["code"], ended["lines"]) == (124, ["not done after 1 s: killed"])
    assert until(lambda: not is_there(int(pid.read_text())), 10)


def test_what_it_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    assert run(f"sleep 600 >/dev/null 2>&1 & echo $! >{pid}")["code"] == 0
    assert until(lambda: not is_there(int(pid.read_text())), 10)


def test_contact_that_is_lost() -> None:
    ended = parse("after_rollout", "web1", ["half a li"])
    assert summarize(ended) == "after_rollout failed: contact was lost; whether the command has ended is not known"


def is_there(pid: int) -> bool:
    """Whether a process runs: init may not have reaped it yet."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
