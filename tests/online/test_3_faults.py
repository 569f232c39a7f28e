"""Workers recover by themselves from faults on real machines, and no task is lost.

Every drill is a test of `make slow`: with the deploy that they need, each takes minutes. `make test` has the drill of rollouts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fleet.drill.faults import FAULTS
from tests.online.conftest import NAME, ROLLING, ROOT, Lab
from tests.online.test_1_deploy import assert_all_answered
from tests.online.test_2_rollout import another_release, running_units

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LEASE = 60
HELD = """
import os, sys, time
from celery import Celery
from redis import Redis
app, redis = Celery(), Redis.from_url(os.environ["CELERY_BROKER_URL"])
count = int(sys.argv[1])
for number in range(count):
    app.send_task("shop.tasks.reports.count_primes", [10], queue="default", countdown=3600)
while redis.llen("default") or redis.hlen("unacked") < count:
    time.sleep(0.1)
print("all are held")
"""
BACK = """
import os, sys, time
from redis import Redis
redis = Redis.from_url(os.environ["CELERY_BROKER_URL"])
count, deadline = int(sys.argv[1]), float(sys.argv[2])
while redis.llen("default") < count and time.time() < deadline + 60:
    time.sleep(0.1)
print(redis.llen("default"), "back in time" if time.time() < deadline else "late", time.time() - deadline)
redis.delete("default")
"""


@pytest.fixture(scope="module", autouse=True)
def _two_of_each(lab: Lab) -> None:
    """Deploy what test_2 leaves, in case this file runs alone."""
    done = lab.deploy(*ROLLING)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", FAULTS)
def test_no_task_is_lost(lab: Lab, name: str) -> None:
    account = lab.drill(name, *ROLLING)
    assert account["sent"] == account["finished"] > 20
    assert account["lost"] == 0
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
    assert len(account["restarted"]) == expected[name]
    assert account["parked"] == (name == "oom")


def test_a_machine_without_power_gives_its_tasks_back_when_its_lease_has_ended(lab: Lab) -> None:
    """Clocks of machines differ by minutes. No other machine has workers of the queue, so that the tasks can be counted there."""
    for host, change in (("web1", "-7 minutes"), ("batch1", "+10 minutes")):
        lab.ask(host, f'systemctl stop systemd-timesyncd 2>/dev/null; date --set="{change}"')
    python = ("fleet", "connect", "inventory/lab.py", "--", "python", "-W", "ignore", "-c")
    done = lab.run(*python, HELD, "50")
    assert done.stdout.splitlines()[-1] == "all are held", done.stdout
    pid = int((ROOT / ".lab" / NAME / "web1.pid").read_text())
    assert b"web1" in Path(f"/proc/{pid}/cmdline").read_bytes()
    off = time.time()
    os.kill(pid, signal.SIGKILL)
    try:
        done = lab.run(*python, BACK, "50", f"{off + LEASE + 15}")
        assert done.stdout.splitlines()[-1].startswith("50 back in time"), done.stdout
    finally:
        done = lab.run("fleet", "lab", "up", "--name", NAME)
        assert done.returncode == 0, done.stdout
        lab.ask("batch1", 'date --set="-10 minutes"')
    assert_all_answered(lab.exercise(60), 60)


def test_a_worker_whose_processes_hang_finds_it_out_by_itself(lab: Lab) -> None:
    """The main process lives: a sign of life from a timer would say that all is well."""
    units = "celery-batch@1 celery-batch@2"
    before = lab.ask("batch1", f"systemctl show --value --property=MainPID {units}").split()
    # Both workers, so that it does not matter which takes the task.
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
    # The first worker gives the task back when it restarts. If the other takes it, that worker notices its stall too.
    assert len(set(before) - set(after)) in (1, 2)
    # A worker that was idle still hangs.
    lab.ask("batch1", f"for main in {' '.join(after)}; do pkill -CONT -P $main; done")


def test_a_machine_whose_workers_eat_all_memory_is_still_reached(lab: Lab) -> None:
    ssh = lab.ask("batch1", "systemctl show --value --property=MainPID ssh")
    eat = "taken = []; [taken.append(bytearray(1 << 24)) for _ in iter(int, 1)]"
    # In the slice, and without a limit of its own: as if the limit of a worker were wrong.
    lab.ask("batch1", f'systemd-run --quiet --wait --slice=fleet.slice python3 -c "{eat}" || true')
    killed = lab.ask("batch1", "journalctl --no-pager --dmesg --output=cat | grep oom-kill: | tail -n 1")
    assert "constraint=CONSTRAINT_MEMCG" in killed
    assert "oom_memcg=/fleet.slice," in killed
    assert lab.ask("batch1", "systemctl show --value --property=MainPID ssh") == ssh
    assert_all_answered(lab.exercise(60), 60)


def test_the_machines_are_still_what_was_asked_for(lab: Lab) -> None:
    done = lab.verify(*ROLLING)
    assert done.returncode == 0, done.stdout


def test_a_machine_that_reboots_in_the_middle(lab: Lab, tmp_path: Path) -> None:
    """The run stops, no worker is left stopped, and the next run finishes."""
    release = ("--data", f"app_source={another_release(tmp_path)}")
    with subprocess.Popen(
        ["pyinfra", "inventory/lab.py", "deploy.py", "-y", *ROLLING, *release],
        cwd=ROOT,
        env=lab.environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as deploy:
        assert deploy.stdout
        lines = []
        for line in deploy.stdout:
            lines.append(line)
            if "Starting operation: Drain, restart and watch workers" in line:
                # In the background: SSH would wait for an answer of a machine that is down.
                lab.ask("batch1", "(sleep 1; echo b >/proc/sysrq-trigger) >/dev/null 2>&1 &")
        output = "".join(lines)
    assert deploy.returncode == 1, output
    assert "contact was lost; what the machine had begun it ends by itself" in output
    why = lab.run("fleet", "history", "inventory/lab.py", "--why").stdout
    assert "batch1: contact lost" in why
    assert "contact was lost; what the machine had begun it ends by itself" in why
    done = lab.run("fleet", "lab", "up")  # waits until every machine answers
    assert done.returncode == 0, done.stdout
    lab.ask("batch1", "systemctl is-system-running --wait >/dev/null; systemctl is-active celery-batch@1 celery-batch@2")
    done = lab.deploy(*ROLLING, *release)
    assert done.returncode == 0, done.stdout
    (id_of_all,) = {release for _, release in running_units(lab).values()}
    assert f"releases/{id_of_all}" in lab.ask("batch1", "systemctl cat celery-batch@1")
