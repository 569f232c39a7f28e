"""Workers that recover alone: what breaks them on real machines, and that no task is lost by it.

Every drill is a test; `make online` runs those that are quick, `make slow` the others.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from fleet.faults import FAULTS
from tests.online.conftest import ROLLING, ROOT, Lab

pytestmark = pytest.mark.lab

QUICK = ("oom",)


@pytest.fixture(scope="module", autouse=True)
def _two_of_each(lab: Lab) -> None:
    """What test_2 leaves; alone, this file brings it about."""
    done = lab.deploy(*ROLLING)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAULTS])
def test_no_task_is_lost(lab: Lab, name: str) -> None:
    drill = ["fleet", "drill", name, "inventory/lab.py", *ROLLING, "--json"]
    done = subprocess.run(drill, cwd=ROOT, env=lab.environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["sent"] == said["finished"] > 20
    assert said["lost"] == 0
    expected = {
        "kill-child": 0,
        "oom": 0,
        "partition": 0,
        "disk-full": 0,
        "broker-restart": 0,
        "kill-worker": 1,
        "stall": 1,
        "reboot": 2,
    }
    assert len(said["restarted"]) == expected[name]
    assert said["parked"] == (name == "oom")


@pytest.mark.slow
def test_the_machines_are_still_what_was_asked_for(lab: Lab) -> None:
    done = lab.verify(*ROLLING)
    assert done.returncode == 0, done.stdout
