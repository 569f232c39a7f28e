"""Machines leave the fleet by `fleet retire`, and all that their workers held is back in its queue."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.online.conftest import NAME, ROLLING, ROOT, Lab
from tests.online.test_1_deploy import assert_all_answered
from tests.online.test_3_faults import BACK, HELD

pytestmark = [pytest.mark.lab, pytest.mark.slow]

TASKS = 20
PYTHON = ("fleet", "connect", "inventory/lab.py", "--", "python", "-W", "ignore", "-c")
LEFT = (
    "ls -d /etc/fleet /opt/fleet /var/lib/fleet /etc/systemd/system/fleet* 2>/dev/null; "
    'ls /etc/systemd/system | grep "^celery-"; true'
)
WITHOUT = """
import runpy
_lab = runpy.run_path({lab!r})
_groups = {{name: value for name, value in _lab.items() if isinstance(value, list) and not name.startswith("_")}}
globals().update({{name: [host for host in hosts if host[0] != {host!r}] for name, hosts in _groups.items()}})
"""


@pytest.fixture(scope="module", autouse=True)
def _two_of_each(lab: Lab) -> None:
    """Deploy what test_3 leaves, in case this file runs alone."""
    done = lab.deploy(*ROLLING)
    assert done.returncode == 0, done.stdout


def hold(lab: Lab, queue: str) -> None:
    """Have the workers of a queue hold tasks that wait for their ETA."""
    done = lab.run(*PYTHON, HELD.replace("default", queue), str(TASKS))
    assert done.stdout.splitlines()[-1] == "all are held", done.stdout


def assert_back(lab: Lab, queue: str) -> None:
    """All that were held are in their queue, and go from there."""
    done = lab.run(*PYTHON, BACK.replace("default", queue), str(TASKS), str(time.time() + 60))
    assert done.stdout.splitlines()[-1].startswith(f"{TASKS} back in time"), done.stdout


def assert_whole_again(lab: Lab) -> None:
    """A deploy brings back what was retired, and every queue is worked on."""
    done = lab.deploy(*ROLLING)
    assert done.returncode == 0, done.stdout
    assert_all_answered(lab.exercise(60), 60)


def test_a_machine_that_is_there(lab: Lab, tmp_path: Path) -> None:
    retire = ("fleet", "retire", "inventory/lab.py", "batch1")
    hold(lab, "batch")
    refused = lab.run(*retire, "-y")
    assert refused.returncode == 1, refused.stdout
    assert f"workers hold {TASKS} of it" in refused.stdout
    assert refused.stdout.rstrip().endswith("--abandon-queues batch")
    assert lab.ask("batch1", "systemctl is-active celery-batch@1 celery-batch@2").split() == ["active", "active"]
    try:
        done = lab.run(*retire, "--abandon-queues", "batch", "-y")
        assert done.returncode == 0, done.stdout
        assert lab.ask("batch1", LEFT) == ""
        assert lab.ask("batch1", "pgrep -u celery || true") == ""
        assert_back(lab, "batch")
        assert "fleet retire batch1" in lab.run("fleet", "history", "inventory/lab.py").stdout.splitlines()[-1]
        # Out of the inventory now, the machine is no more matter of a deploy.
        inventory = tmp_path / "fewer.py"
        inventory.write_text(WITHOUT.format(lab=str(ROOT / "inventory" / "lab.py"), host="batch1"))
        dry = lab.deploy("--dry", *ROLLING, inventory=str(inventory))
        assert dry.returncode == 0, dry.stdout
        assert "batch-worker" not in dry.stdout
    finally:
        assert_whole_again(lab)


def test_a_machine_without_power(lab: Lab) -> None:
    """No other machine has workers of the queue, so that the tasks can be counted there."""
    retire = ("fleet", "retire", "inventory/lab.py", "web1", "--gone", "-y", "--json")
    hold(lab, "default")
    living = lab.run(*retire)
    assert (living.returncode, "answers over SSH" in living.stdout) == (1, True), living.stdout
    pid = int((ROOT / ".lab" / NAME / "web1.pid").read_text())
    assert b"web1" in Path(f"/proc/{pid}/cmdline").read_bytes()
    os.kill(pid, signal.SIGKILL)
    try:
        done = lab.run(*retire)
        assert done.returncode == 0, done.stdout
        given_back = json.loads(done.stdout.splitlines()[-1])["given_back"]
        # By the command, and not by other workers when the lease had ended.
        assert sum(given_back.values()) == TASKS, done.stdout
        assert_back(lab, "default")
    finally:
        up = lab.run("fleet", "lab", "up", "--name", NAME)
        assert up.returncode == 0, up.stdout
        assert_whole_again(lab)
