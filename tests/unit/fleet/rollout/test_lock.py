"""The lock and the history, as the broker's machine runs them: sh, in a folder of the test's own."""

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fleet.rollout import lock
from fleet.state.observed import STAMP

HERE = f"somebody@{socket.gethostname()}"


def sh(command: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["sh", "-c", command], input=stdin, capture_output=True, text=True, check=False)


def release(run: dict[str, Any], ended: dict[str, Any], folder: str) -> "subprocess.CompletedProcess[str]":
    entry = json.dumps({**run, **ended})
    return sh(lock.release_command(run, entry, folder), entry)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    first, second = {**lock.describe_run("deploy.py"), "pid": 1}, {**lock.describe_run("restart.py"), "pid": 2}
    assert sh(lock.acquire_command(first, str(tmp_path))).returncode == 0
    refused = sh(lock.acquire_command(second, str(tmp_path)))
    assert refused.returncode == 75
    assert json.loads(refused.stdout) == first
    # Who does not hold it cannot give it back.
    release(second, {"outcome": "failed"}, str(tmp_path))
    assert (tmp_path / "lock").exists()
    release(first, {"outcome": "done"}, str(tmp_path))
    assert not (tmp_path / "lock").exists()
    assert sh(lock.acquire_command(second, str(tmp_path))).returncode == 0


def test_what_was_planned_before_another_run_ended_is_not_done(tmp_path: Path) -> None:
    """Whoever runs pyinfra without -y may sit before its question for an hour."""
    here = str(tmp_path)
    planned = sh(STAMP.format(folder=here)).stdout.strip()
    other, own = {**lock.describe_run("deploy.py"), "pid": 1}, {**lock.describe_run("deploy.py"), "pid": 2}
    assert sh(lock.acquire_command(other, here, planned)).returncode == 0
    assert sh(lock.acquire_command(own, here, planned)).returncode == 75
    release(other, {"outcome": "done"}, here)
    refused = sh(lock.acquire_command(own, here, planned))
    assert (refused.returncode, (tmp_path / "lock").exists()) == (76, False)
    now = sh(STAMP.format(folder=here)).stdout.strip()
    assert sh(lock.acquire_command(own, here, now)).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is full")
def test_a_full_disk_is_no_other_run(tmp_path: Path) -> None:
    command = lock.acquire_command(lock.describe_run("deploy.py"), str(tmp_path)).replace('>"$new"', ">/dev/full")
    done = sh(command)
    assert done.returncode not in (0, 75), done
    assert "error" in done.stderr or "No space left" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_run_that_was_killed_is_taken_over_and_the_run_recorded(tmp_path: Path) -> None:
    killed, own = {**lock.describe_run("deploy.py"), "pid": 1}, {**lock.describe_run("deploy.py"), "pid": 2}
    here = str(tmp_path)
    assert sh(lock.acquire_command(killed, here)).returncode == 0
    stamp = sh(STAMP.format(folder=here)).stdout.strip()
    assert sh(lock.acquire_command(own, here, "another", killed)).returncode == 76
    assert sh(lock.acquire_command(own, here, stamp, {**killed, "pid": 3})).returncode == 75  # not the one that holds it
    assert sh(lock.acquire_command(own, here, stamp, killed)).returncode == 0
    assert json.loads((tmp_path / "lock").read_text()) == own
    assert json.loads((tmp_path / "history.jsonl").read_text()) == {**killed, "outcome": "killed"}


def test_one_of_two_takes_a_lock_over(tmp_path: Path) -> None:
    here, killed = str(tmp_path), {**lock.describe_run("deploy.py"), "pid": 1}
    for _ in range(20):
        assert sh(lock.acquire_command(killed, here)).returncode == 0
        commands = [lock.acquire_command({**killed, "pid": pid}, here, killed=killed) for pid in (2, 3)]
        both = [subprocess.Popen(["sh", "-c", command], stdout=subprocess.DEVNULL) for command in commands]
        assert sorted(process.wait() for process in both) == [0, 75]
        (tmp_path / "lock").unlink()


def test_every_run_is_recorded(tmp_path: Path) -> None:
    for outcome in ("done", "failed"):
        run = lock.describe_run('it\'s a "deploy"')
        assert sh(lock.acquire_command(run, str(tmp_path))).returncode == 0
        assert release(run, {"outcome": outcome, "seconds": 1.5}, str(tmp_path)).returncode == 0
    runs = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [run["outcome"] for run in runs] == ["done", "failed"]
    assert runs[0]["what"] == 'it\'s a "deploy"'


def test_a_run_that_is_alive_here_is_at_work() -> None:
    run = {"who": HERE, "pid": os.getpid(), "at": "2026-11-21T12:00:00Z", "what": "deploy.py"}
    assert lock.is_at_work(json.dumps(run))
    assert not lock.is_at_work(json.dumps({**run, "who": "somebody@elsewhere"}))
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert not lock.is_at_work(json.dumps({**run, "pid": ended.pid}))
    assert not lock.is_at_work("half a li")


def test_a_run_is_gone_if_its_very_process_has_ended_on_this_machine() -> None:
    own = lock.describe_run("deploy.py")
    assert not lock.is_gone(json.dumps(own))
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    boot, namespace, began = own["process"].split()
    assert lock.is_gone(json.dumps({**own, "pid": ended.pid}))
    assert lock.is_gone(json.dumps({**own, "process": f"{boot} {namespace} 7"}))  # another has its number now
    assert not lock.is_gone(json.dumps({**own, "process": f"another {namespace} {began}", "pid": ended.pid}))
    assert not lock.is_gone(json.dumps({"who": HERE, "pid": ended.pid}))  # of an earlier celery-fleet
    assert not lock.is_gone("half a li")


def test_the_lock_tells_who_and_whether_they_are_still_at_work() -> None:
    alive = json.dumps({"who": HERE, "pid": os.getpid(), "at": "2026-11-21T12:00:00Z", "what": "deploy.py"})
    text = lock.explain(alive, "inventory/prod.py")
    assert text.startswith(
        f"deploy.py by {HERE} (process {os.getpid()}) holds the lock since 2026-11-21T12:00:00Z; if it has ended: "
    )
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    dead = lock.explain(alive.replace(str(os.getpid()), str(ended.pid)), "inventory/prod.py")
    assert "that process is not running any more: fleet unlock inventory/prod.py" in dead
    assert "fleet unlock inventory/prod.py" in lock.explain("half a li", "inventory/prod.py")


def test_an_entry_that_is_cut_short_is_not_written_and_the_lock_stays(tmp_path: Path) -> None:
    run = lock.describe_run("deploy.py")
    assert sh(lock.acquire_command(run, str(tmp_path))).returncode == 0
    entry = json.dumps({**run, "outcome": "done"})
    assert sh(lock.release_command(run, entry, str(tmp_path)), entry[:40]).returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_an_entry_may_be_longer_than_an_argument(tmp_path: Path) -> None:
    run = lock.describe_run("deploy.py")
    assert sh(lock.acquire_command(run, str(tmp_path))).returncode == 0
    assert release(run, {"outcome": "failed", "errors": ["x" * 300_000]}, str(tmp_path)).returncode == 0
    assert len(json.loads((tmp_path / "history.jsonl").read_text())["errors"][0]) == 300_000
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("history", ["/dev/full", "."])
def test_a_run_that_cannot_be_recorded_gives_the_lock_back_and_says_so(tmp_path: Path, history: str) -> None:
    run = lock.describe_run("deploy.py")
    assert sh(lock.acquire_command(run, str(tmp_path))).returncode == 0
    (tmp_path / "history.jsonl").symlink_to(history)
    done = release(run, {"outcome": "done"}, str(tmp_path))
    assert done.returncode == 77
    assert "I/O error" in done.stdout or "No space left" in done.stdout or "Is a directory" in done.stdout
    assert not (tmp_path / "lock").exists()
