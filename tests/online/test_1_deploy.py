"""From four bare machines to a fleet at work, by the commands that a user types. The tests build on each other, in this order."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.online.conftest import ROOT, Lab

pytestmark = pytest.mark.lab

WORKERS = {"web1": "celery-web@1", "batch1": "celery-batch@1", "gpu1": "celery-gpu@1"}


def pids(lab: Lab) -> dict[str, str]:
    """The main process of every worker and of the broker."""
    units = {**WORKERS, "broker1": "redis-server"}
    return {host: lab.ask(host, f"systemctl show --value --property=MainPID {unit}") for host, unit in units.items()}


def everything(lab: Lab) -> dict[str, str]:
    """All that the deploy manages on each machine: every path with its time of change, every unit with its process."""
    look = (
        "find /etc/fleet /etc/systemd/system /etc/redis /opt/fleet/releases "
        '-maxdepth 1 -printf "%p %T@ %u %m\\n" 2>/dev/null | sort; '
        'systemctl show --property=Id,MainPID,NRestarts "celery-*" redis-server; getent passwd celery'
    )
    return {host: lab.ask(host, look) for host in (*WORKERS, "broker1")}


def assert_all_answered(done: object, tasks: int) -> None:
    output: str = done.stdout  # type: ignore[attr-defined]
    assert done.returncode == 0, output  # type: ignore[attr-defined]
    report = json.loads(output[output.index("{") :])
    assert (report["sent"], report["finished"], report["wrong"], report["lost"]) == (tasks, tasks, 0, 0)
    assert set(report["queues"]) == {"default", "priority", "batch", "ml"}
    assert len(report["workers"]) >= 3


def test_the_first_deploy_brings_up_the_fleet(lab: Lab) -> None:
    done = lab.deploy()
    assert done.returncode == 0, done.stdout
    assert all(pid != "0" for pid in pids(lab).values())


def test_a_second_deploy_changes_and_restarts_nothing(lab: Lab) -> None:
    before = everything(lab)
    done = lab.deploy()
    assert done.returncode == 0, done.stdout
    assert re.search(r"Grand total\s+(\d+)\s+-\s+-\s+\1\s", done.stdout), done.stdout
    assert everything(lab) == before


def test_the_machines_are_what_was_asked_for(lab: Lab) -> None:
    done = lab.verify()
    assert done.returncode == 0, done.stdout


def test_real_work_is_done_on_every_queue(lab: Lab) -> None:
    assert_all_answered(lab.exercise(120), 120)


def test_the_fleet_is_seen_as_it_is(lab: Lab) -> None:
    done = lab.run("fleet", "status", "inventory/lab.py")
    assert done.returncode == 0, done.stdout
    assert "as asked: yes" in done.stdout
    assert "working: yes, 3 of 3 workers" in done.stdout
    queues = json.loads(lab.run("fleet", "queues", "inventory/lab.py", "--json").stdout)["queues"]
    assert {name: (queue["waiting"], queue["consumers"]) for name, queue in queues.items()} == dict.fromkeys(
        ("default", "priority", "batch", "ml"), (0, 1)
    )
    lab.ask("web1", "systemctl kill --kill-who=main --signal=STOP celery-web@1")
    load = json.loads(lab.run("fleet", "load", "inventory/lab.py", "--json").stdout)
    lab.ask("web1", "systemctl kill --kill-who=main --signal=CONT celery-web@1")
    states = {node: worker["state"] for node, worker in load["workers"].items()}
    assert states == {"web-worker-1@web1": "stopped", "batch-worker-1@batch1": "idle", "gpu-worker-1@gpu1": "idle"}
    assert 0 < load["workers"]["batch-worker-1@batch1"]["memory"] < load["workers"]["batch-worker-1@batch1"]["memory_max"]


def under_load(lab: Lab, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that restarts the last consumer of each queue, while every task is answered."""
    worked = set()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lab.run, *command)
        while not running.done():
            exercised = lab.exercise(60)
            assert_all_answered(exercised, 60)
            worked |= set(json.loads(exercised.stdout.splitlines()[-1])["workers"])
        done = running.result()
    assert done.returncode == 0, done.stdout
    assert any("surge" in worker for worker in worked), worked
    assert "surge" not in lab.ask("web1", "systemctl list-units --all --plain --no-legend celery-*; ls /run/systemd/system")
    return done


@pytest.mark.slow
def test_a_role_is_restarted_and_no_other(lab: Lab) -> None:
    done = lab.deploy()
    assert done.returncode == 0, done.stdout
    before = pids(lab)
    done = under_load(lab, "pyinfra", "inventory/lab.py", "restart.py", "-y", "--data", "role=web")
    assert "while a second one worked in its place" in done.stdout
    after = pids(lab)
    assert {host for host in before if before[host] != after[host]} == {"web1"}


@pytest.mark.slow
def test_an_app_that_does_not_import_leaves_the_old_workers_alone(lab: Lab, tmp_path: Path) -> None:
    before = pids(lab)
    done = lab.deploy("--data", "celery_app=shop.nowhere")
    assert done.returncode == 1, done.stdout
    assert "celery_app shop.nowhere does not import: " in done.stdout
    assert "No module named 'shop.nowhere'" in done.stdout
    assert "Starting operation: Bring up the workers" not in done.stdout
    broken = tmp_path / "shop"
    shutil.copytree(ROOT / "examples" / "shop", broken)
    (broken / "shop" / "app.py").write_text("raise RuntimeError('half an edit')\n")
    done = lab.deploy("--data", f"app_source={broken}", "--limit", "web1")
    assert done.returncode == 1, done.stdout
    assert "celery_app shop.app does not import: RuntimeError: half an edit" in done.stdout
    assert pids(lab) == before
    done = lab.deploy()
    assert done.returncode == 0, done.stdout
    assert pids(lab) == before


@pytest.mark.slow
def test_settings_that_lose_tasks_leave_every_machine_untouched(lab: Lab, tmp_path: Path) -> None:
    before = everything(lab)
    (tmp_path / "batch.py").write_text(
        'batch_worker = {"queues": ["batch"], "soft_time_limit": 400, "time_limit": 400, "memory_max": "2G", "concurrency": 2}\n'
    )
    done = lab.deploy("--group-data", str(tmp_path))
    assert done.returncode == 1, done.stdout
    assert "batch_worker.soft_time_limit: 400 is not below time_limit 400" in done.stdout
    assert "more than the machine's" in done.stdout
    assert "Beginning operation run" not in done.stdout
    # Only the app names the queue of its reports, which no worker would consume. The check on the machines ends the run early.
    (tmp_path / "batch.py").write_text('batch_worker = {"queues": ["bacth"]}\n')
    done = lab.deploy("--group-data", str(tmp_path))
    assert done.returncode == 1, done.stdout
    assert "shop.app: queue batch: no worker consumes it" in done.stdout
    assert "did you mean bacth?" in done.stdout
    assert "Starting operation: Bring up the broker" not in done.stdout
    assert everything(lab) == before


def test_the_machines_facts_and_the_app_are_looked_at(lab: Lab) -> None:
    done = lab.run("fleet", "lint", "inventory/lab.py", "--json", "--strict")
    assert done.returncode == 1, done.stdout
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert {(worker["host"], worker["instances"], worker["concurrency"]) for worker in report["workers"]} == {
        ("web1", 1, 100),
        ("batch1", 1, 1),
        ("gpu1", 1, 1),
    }
    assert {finding["rule"] for finding in report["findings"] if finding["level"] != "note"} == {"single-consumer"}


def test_an_unreachable_host_stops_the_run_before_any_change(lab: Lab, tmp_path: Path) -> None:
    before = everything(lab)
    inventory = tmp_path / "lab.py"
    inventory.write_text(
        f"import runpy\nglobals().update(runpy.run_path({str(ROOT / 'inventory' / 'lab.py')!r}))\n"
        "all.append(('web9', {**dict(all)['web1'], 'ssh_port': 9}))\nweb.append('web9')\n"
    )
    # A changed flag: without one, there would be nothing to change on the other hosts.
    done = lab.deploy("--group-data", str(ROOT / "tests" / "online" / "pools"), inventory=str(inventory))
    assert done.returncode == 1, done.stdout
    assert "web9" in done.stdout
    assert "Beginning operation run" not in done.stdout
    assert everything(lab) == before


def test_a_worker_on_a_machine_that_has_left_the_inventory_is_named(lab: Lab, tmp_path: Path) -> None:
    inventory = tmp_path / "fewer.py"
    inventory.write_text(
        f"import runpy\n_lab = runpy.run_path({str(ROOT / 'inventory' / 'lab.py')!r})\n"
        "_groups = {name: value for name, value in _lab.items() if isinstance(value, list) and not name.startswith('_')}\n"
        "globals().update({name: [host for host in hosts if host[0] != 'batch1'] for name, hosts in _groups.items()})\n"
    )
    done = lab.deploy("--dry", inventory=str(inventory))
    assert done.returncode == 1, done.stdout
    assert "not in the inventory: batch-worker-1@batch1 consumes batch." in done.stdout
    assert "--data leave_workers=batch-worker-1@batch1" in done.stdout


@pytest.mark.slow
def test_the_other_pools_deploy_and_work_too(lab: Lab) -> None:
    """The tests before ran gevent, prefork and prefork with spawn; this one runs eventlet, threads, solo and two instances."""
    pools = ("--group-data", str(ROOT / "tests" / "online" / "pools"))
    done = lab.deploy(*pools)
    assert done.returncode == 0, done.stdout
    done = lab.verify(*pools)
    assert done.returncode == 0, done.stdout
    assert_all_answered(lab.exercise(120), 120)
    environment = lab.ask("web1", 'tr "\\0" "\\n" </proc/$(systemctl show --value -p MainPID celery-web@2)/environ')
    assert 'MOTTO=a "quoted" $word, 100% \\ of it' in environment.splitlines()


@pytest.mark.slow
def test_requirements_that_leave_something_out_are_refused(lab: Lab, tmp_path: Path) -> None:
    before = pids(lab)
    shutil.copytree(ROOT / "tests" / "online" / "other_app", tmp_path / "app")
    (tmp_path / "app" / "requirements.txt").write_text("celery==5.7.0\nredis==8.1.0\n")
    done = lab.deploy("--data", f"app_source={tmp_path / 'app'}", "--data", "celery_app=jobs:celery", "--limit", "gpu1")
    assert done.returncode == 1, done.stdout
    assert "The package `celery` requires `kombu" in done.stdout
    assert "requirements.txt does not pin all that is needed" in done.stdout
    assert pids(lab) == before


@pytest.mark.slow
def test_any_other_app_deploys_the_same_way(lab: Lab) -> None:
    other = ("--data", "app_source=tests/online/other_app", "--data", "celery_app=jobs:celery")
    done = lab.deploy(*other)
    assert done.returncode == 0, done.stdout
    # Only the settings of the test before ask for the second web instance.
    assert "Stop workers that were removed" in done.stdout
    assert "celery-web@2" not in lab.ask("web1", 'systemctl list-units --all --plain --no-legend "celery-*"')
    send = (
        "from celery import Celery; app = Celery(); queues = ['default', 'batch', 'ml'];"
        "print([app.send_task('jobs.double', [n], queue=q).get(timeout=60) for n, q in enumerate(queues)])"
    )
    done = lab.run("fleet", "connect", "inventory/lab.py", "--", "python", "-W", "ignore", "-c", send)
    assert done.stdout.splitlines()[-1] == "[0, 2, 4]", done.stdout
