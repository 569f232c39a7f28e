"""What a drill breaks, whom it befalls, and how that is told."""

import io
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fleet.drill import fault as fault_drill
from fleet.drill import faults, report
from fleet.drill.errors import DrillError
from tests.unit.fleet_support import fleet_of, make_app, plan_of

TARGET = faults.Target("celery-batch@1.service", ("10.77.0.11", 6379), "/var/lib/celery/batch")


@pytest.fixture(autouse=True)
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", [name for name, fault in faults.FAULTS.items() if fault.command])
def test_what_runs_on_the_machine_is_sh(name: str) -> None:
    command = faults.FAULTS[name].command
    assert command
    assert subprocess.run(["sh", "-n", "-c", command(TARGET)], check=False).returncode == 0


@pytest.mark.parametrize("name", ["partition", "disk-full"])
def test_what_lasts_is_cleaned_up_by_systemd_however_it_ends(name: str) -> None:
    command = faults.FAULTS[name].command
    assert command
    said = command(TARGET)
    assert said.startswith("systemd-run --quiet --collect --unit=fleet-drill '--property=ExecStopPost=")
    assert f"sleep {faults.LASTS}" in said


def test_whom_it_befalls() -> None:
    web = {"queues": ["default"], "workload": "io"}
    plan = plan_of(fleet_of({"web": web, "batch": {"queues": ["batch"]}}))
    assert fault_drill.place_of(faults.FAULTS["kill-worker"], plan, None).role == "batch"  # its tasks are long
    assert fault_drill.place_of(faults.FAULTS["oom"], plan, None).role == "batch"  # web is gevent
    with pytest.raises(DrillError, match="no role gpu; the roles are web, batch"):
        fault_drill.place_of(faults.FAULTS["oom"], plan, "gpu")
    with pytest.raises(DrillError, match="oom: not for role web, which means something for prefork alone"):
        fault_drill.place_of(faults.FAULTS["oom"], plan, "web")


def test_what_became_of_it_is_told() -> None:
    said: dict[str, Any] = {
        "drill": "oom",
        "at": "batch1:celery-batch@1.service",
        **{"sent": 120, "finished": 120, "lost": 0, "run_twice": 1, "longest_wait_s": 2.5},
        **{
            "fault_s": 30.0,
            "back_s": 4.2,
            "back_within_s": 15.0,
            "restarted": [],
            "parked": 1,
            "visibility_timeout_s": 150,
            "went_wrong": None,
        },
    }
    out = io.StringIO()
    report.show_fault(said, Console(file=out, width=200))
    text = out.getvalue()
    assert "120 sent, 120 finished, 0 lost, 1 run twice" in text
    assert "after 4.2 s (at most 15 s); longest wait of a task 2.5 s (visibility timeout 150 s)" in text
    assert "restarted     nothing" in text
    assert "as it should  yes" in text
    report.show_fault({**said, "back_s": None, "went_wrong": "not every worker was back"}, Console(file=out, width=200))
    assert "never (at most 15 s); longest" in out.getvalue()
