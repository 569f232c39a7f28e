"""Rolling restarts: in steps, with no task lost, stopped and put back by the first worker that does not come up."""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.online.conftest import ROOT, Lab
from tests.online.test_1_deploy import assert_all_answered

pytestmark = pytest.mark.lab

ROLLING = ("--group-data", str(ROOT / "tests" / "online" / "rolling"))
UNITS = {"web1": ("celery-web@1", "celery-web@2"), "batch1": ("celery-batch@1", "celery-batch@2"), "gpu1": ("celery-gpu@1",)}


def running(lab: Lab) -> dict[str, tuple[str, str]]:
    """Unit → its main process, and the release that it runs."""
    found = {}
    for host, units in UNITS.items():
        for unit in units:
            show = f"pid=$(systemctl show --value --property=MainPID {unit}); echo $pid; "
            pid, release = lab.ask(host, show + 'tr "\\0" "\\n" </proc/$pid/environ | sed -n s/^FLEET_RELEASE=//p').split()
            found[unit] = (pid, release)
    return found


def changed(before: dict[str, tuple[str, str]], after: dict[str, tuple[str, str]]) -> set[str]:
    return {unit for unit in before if before[unit] != after[unit]}


def test_two_instances_of_web_and_batch(lab: Lab) -> None:
    done = lab.deploy(*ROLLING)
    assert done.returncode == 0, done.stdout
    assert len({release for _, release in running(lab).values()}) == 1


def test_a_changed_flag_restarts_whom_it_concerns_in_steps_and_loses_nothing(lab: Lab, tmp_path: Path) -> None:
    before = running(lab)
    for name in ("web", "batch"):
        text = (ROOT / "tests" / "online" / "rolling" / f"{name}.py").read_text()
        (tmp_path / f"{name}.py").write_text(text.replace("}", ', "log_level": "WARNING"}'))
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(lab.exercise, 240)
        done = lab.deploy("--group-data", str(tmp_path))
        worked = work.result()
    assert done.returncode == 0, done.stdout
    steps = [line.partition("Step ")[2].strip() for line in done.stdout.splitlines() if "Starting operation: Step" in line]
    assert steps == ["1 of 2: canary: web1:web@1, batch1:batch@1", "2 of 2: web1:web@2, batch1:batch@2"]
    assert changed(before, running(lab)) == {"celery-web@1", "celery-web@2", "celery-batch@1", "celery-batch@2"}
    assert_all_answered(worked, 240)


def test_a_worker_that_does_not_come_up_stops_the_rollout_and_is_put_back(lab: Lab, tmp_path: Path) -> None:
    done = lab.deploy(*ROLLING)  # the flag back
    assert done.returncode == 0, done.stdout
    before = running(lab)
    broken = tmp_path / "shop"
    shutil.copytree(ROOT / "examples" / "shop", broken, ignore=shutil.ignore_patterns("__pycache__"))
    with (broken / "shop" / "app.py").open("a") as app:  # it imports, and does not start
        app.write("\nimport os\nfrom celery.signals import worker_init\n\n")
        app.write("\n@worker_init.connect\ndef fall(**_):\n    os._exit(3)\n")
    done = lab.deploy(*ROLLING, "--data", f"app_source={broken}")
    assert done.returncode == 1, done.stdout
    assert "celery-web@1.service did not come up; the end of its journal:" in done.stdout
    assert "put back as it was: celery-web@1.service" in done.stdout
    assert "Starting operation: Step 2" not in done.stdout
    after = running(lab)
    assert {unit: release for unit, (_, release) in after.items()} == {unit: release for unit, (_, release) in before.items()}
    assert changed(before, after) <= {"celery-web@1", "celery-batch@1", "celery-gpu@1"}
    assert_all_answered(lab.exercise(120), 120)
    # What was to be is no longer asked for: nothing is left to do.
    done = lab.deploy(*ROLLING)
    assert "Restart workers" not in done.stdout
    assert done.returncode == 0, done.stdout
    assert running(lab) == after


def test_restart_as_it_is(lab: Lab) -> None:
    before = running(lab)
    dry = lab.run("pyinfra", "inventory/lab.py", "restart.py", "--dry", *ROLLING, "--data", "role=batch")
    assert dry.returncode == 0, dry.stdout
    assert "Step 1 of 2: canary: batch1:batch@1" in dry.stdout
    assert running(lab) == before
    done = lab.run("pyinfra", "inventory/lab.py", "restart.py", "-y", *ROLLING, "--data", "role=batch")
    assert done.returncode == 0, done.stdout
    after = running(lab)
    assert changed(before, after) == {"celery-batch@1", "celery-batch@2"}
    done = lab.run("pyinfra", "inventory/lab.py", "restart.py", "-y", *ROLLING, "--data", "role=btach")
    assert done.returncode == 1
    assert "role: no role btach; the roles are web, batch, gpu" in done.stdout


def test_every_run_that_changed_something_is_recorded(lab: Lab) -> None:
    done = lab.run("fleet", "history", "inventory/lab.py", "--json")
    assert done.returncode == 0, done.stdout
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert (runs[-1]["what"], runs[-1]["outcome"]) == ("restart.py", "done")
    assert runs[-1]["planned"] == ["batch1:batch@1", "batch1:batch@2"]
    assert "failed" in {run["outcome"] for run in runs}
    assert lab.run("fleet", "unlock", "inventory/lab.py").stdout == "no run holds the lock\n"


def test_a_second_run_is_told_who_is_at_work(lab: Lab) -> None:
    before = running(lab)
    held = '{"who": "somebody@elsewhere", "pid": 1, "at": "2026-11-21T12:00:00Z", "what": "deploy.py"}'
    lab.ask("broker1", f"echo {b64encode(held.encode()).decode()} | base64 -d >/var/lib/fleet/lock")
    done = lab.run("pyinfra", "inventory/lab.py", "restart.py", "-y", *ROLLING)
    assert done.returncode == 1, done.stdout
    assert "deploy.py by somebody@elsewhere (process 1) holds the lock since 2026-11-21T12:00:00Z" in done.stdout
    assert running(lab) == before
    assert "somebody@elsewhere" in lab.run("fleet", "unlock", "inventory/lab.py").stdout
