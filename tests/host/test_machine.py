"""Each machine: its slice, its target, and no secret in arguments, the journal or units."""

from typing import Any

from fleet.plan.facts import MachineFacts
from fleet.plan.plan import Plan, reserve_of


def test_fleet_target_is_active_and_enabled(connect: Any, machine: str) -> None:
    host = connect(machine)
    assert host.service("fleet.target").is_running
    assert host.service("fleet.target").is_enabled


def test_fleet_slice_leaves_memory_to_the_system(connect: Any, machine: str, plan: Plan) -> None:
    host = connect(machine)
    limit = host.check_output("systemctl show --value --property=MemoryMax fleet.slice")
    total = int(host.check_output("awk '$1 == \"MemTotal:\" { print $2 }' /proc/meminfo")) * 1024
    assert int(limit) == total - reserve_of(plan.fleet, plan.fleet.hosts[machine], MachineFacts(cores=1, memory=total))


def test_no_secret_in_any_argument(connect: Any, machine: str, fleet_secrets: dict[str, str]) -> None:
    # The search runs here: a grep on the machine would itself put the secret in an argument.
    arguments = connect(machine).check_output("ps -ww -eo args")
    assert "fleet.slice" in arguments or "/sbin/init" in arguments or "systemd" in arguments
    assert [name for name, value in fleet_secrets.items() if value in arguments] == []


def test_no_secret_in_the_journal(connect: Any, machine: str, fleet_secrets: dict[str, str]) -> None:
    journal = connect(machine).check_output("journalctl --boot --no-pager --output=cat --lines=20000")
    assert journal.strip()
    assert [name for name, value in fleet_secrets.items() if value in journal] == []


def test_no_secret_in_any_unit(connect: Any, machine: str, fleet_secrets: dict[str, str]) -> None:
    units = connect(machine).check_output(
        "cat /etc/systemd/system/fleet.slice $(find /etc/systemd/system -name 'celery-*.service')"
    )
    assert "[Slice]" in units
    assert [name for name, value in fleet_secrets.items() if value in units] == []
