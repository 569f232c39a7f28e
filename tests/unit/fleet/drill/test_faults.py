"""The commands of the faults, as sh."""

import subprocess

import pytest

from fleet.drill import faults

TARGET = faults.Target(
    "celery-batch@1.service", (("10.77.0.11", 6379), ("fd00::1", 6379)), "/var/lib/celery/batch", "redis-server"
)


@pytest.mark.parametrize("name", [name for name, fault in faults.FAULTS.items() if fault.command])
def test_a_fault_is_sh(name: str) -> None:
    command = faults.FAULTS[name].command
    assert command
    assert subprocess.run(["sh", "-n", "-c", command(TARGET)], check=False).returncode == 0


@pytest.mark.parametrize("name", ["partition", "disk-full"])
def test_a_fault_that_lasts_is_cleaned_up_by_systemd_however_it_ends(name: str) -> None:
    command = faults.FAULTS[name].command
    assert command
    words = command(TARGET)
    assert words.startswith("systemd-run --quiet --collect --unit=fleet-drill '--property=ExecStopPost=")
    assert f"sleep {faults.LASTS}" in words
