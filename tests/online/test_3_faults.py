"""Workers that recover alone: what breaks them on real machines, and that no task is lost by it.

Every drill is a test; `make online` runs those that are quick, `make slow` the others.
"""

from __future__ import annotations

import pytest

from fleet.drill.faults import FAULTS
from tests.online.conftest import ROLLING, Lab
from tests.online.test_1_deploy import assert_all_answered

pytestmark = pytest.mark.lab

QUICK = ("oom",)


@pytest.fixture(scope="module", autouse=True)
def _two_of_each(lab: Lab) -> None:
    """What test_2 leaves; alone, this file brings it about."""
    done = lab.deploy(*ROLLING)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAULTS])
def test_no_task_is_lost(lab: Lab, name: str) -> None:
    said = lab.drill(name, *ROLLING)
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
def test_a_worker_whose_processes_hang_finds_it_out_by_itself(lab: Lab) -> None:
    """Its main process lives, so that a timer's sign of life would say that all is well."""
    units = "celery-batch@1 celery-batch@2"
    before = lab.ask("batch1", f"systemctl show --value --property=MainPID {units}").split()
    # Both, so that it does not matter who takes the task.
    lab.ask("batch1", f"for main in {' '.join(before)}; do pkill -STOP -P $main; done")
    send = (
        "from celery import Celery; app = Celery();"
        "print(app.send_task('shop.tasks.reports.count_primes', [10], queue='batch').get(timeout=600)['primes'])"
    )
    done = lab.run("fleet", "connect", "inventory/lab.py", "--", "python", "-W", "ignore", "-c", send)
    assert done.stdout.splitlines()[-1] == "4", done.stdout
    journal = lab.ask("batch1", "journalctl --no-pager --output=cat --unit=celery-batch@*")
    assert "stalled, to be restarted: nothing has begun for" in journal
    assert "with 1 reserved and 2 of 2 slots free" in journal
    after = lab.ask("batch1", f"systemctl show --value --property=MainPID {units}").split()
    # The first gives it back when it restarts; where the other one takes it, it finds itself out too.
    assert len(set(before) - set(after)) in (1, 2)
    # One that was idle hangs still.
    lab.ask("batch1", f"for main in {' '.join(after)}; do pkill -CONT -P $main; done")


@pytest.mark.slow
def test_a_machine_whose_workers_eat_all_memory_is_still_reached(lab: Lab) -> None:
    ssh = lab.ask("batch1", "systemctl show --value --property=MainPID ssh")
    eat = "taken = []; [taken.append(bytearray(1 << 24)) for _ in iter(int, 1)]"
    # In the slice and without a limit of its own: what a worker's would be worth if it were wrong.
    lab.ask("batch1", f'systemd-run --quiet --wait --slice=fleet.slice python3 -c "{eat}" || true')
    killed = lab.ask("batch1", "journalctl --no-pager --dmesg --output=cat | grep oom-kill: | tail -n 1")
    assert "constraint=CONSTRAINT_MEMCG" in killed
    assert "oom_memcg=/fleet.slice," in killed
    assert lab.ask("batch1", "systemctl show --value --property=MainPID ssh") == ssh
    assert_all_answered(lab.exercise(60), 60)


@pytest.mark.slow
def test_the_machines_are_still_what_was_asked_for(lab: Lab) -> None:
    done = lab.verify(*ROLLING)
    assert done.returncode == 0, done.stdout
