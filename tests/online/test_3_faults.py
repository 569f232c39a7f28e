"""Workers that recover alone: what breaks them on real machines, and that no task is lost by it.

Every drill is a test; `make online` runs those that are quick, `make faults` all of them.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from fleet.faults import FAULTS
from tests.online.conftest import ROOT, Lab

pytestmark = pytest.mark.lab

QUICK = ("oom", "stall")
FAULTY = ("--group-data", str(ROOT / "tests" / "online" / "faults"))


def test_workers_with_short_limits(lab: Lab) -> None:
    done = lab.deploy(*FAULTY)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAULTS])
def test_no_task_is_lost(lab: Lab, name: str) -> None:
    drill = ["fleet", "drill", name, "inventory/lab.py", *FAULTY, "--json"]
    done = subprocess.run(drill, cwd=ROOT, env=lab.environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["sent"] == said["finished"] > 20
    assert said["lost"] == 0
    assert said["back_s"] <= said["back_within_s"]
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


def test_the_machines_are_still_what_was_asked_for(lab: Lab) -> None:
    done = lab.verify(*FAULTY)
    assert done.returncode == 0, done.stdout
