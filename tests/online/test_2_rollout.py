"""Rollouts: in steps, with no task lost, stopped and put back if a step fails, and rolled back on request."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.online.conftest import ROLLING, ROOT, Lab
from tests.online.test_1_deploy import under_load

pytestmark = pytest.mark.lab

# tests/unit/fleet_node/step/test_step.py tries the other phases natively, and `fleet drill rollout inventory/lab.py` all of them.
PHASES = ("fails every task",)
UNITS = {"web1": ("celery-web@1", "celery-web@2"), "batch1": ("celery-batch@1", "celery-batch@2"), "gpu1": ("celery-gpu@1",)}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What deploys another release than the first one."""
    return "--data", f"app_source={another_release(tmp_path_factory.mktemp('other'))}"


def another_release(folder: Path) -> Path:
    """A copy of the app's source that makes another release."""
    source = folder / "shop"
    shutil.copytree(ROOT / "examples" / "shop", source, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "another").write_text("release\n")
    return source


def running_units(lab: Lab, units: Mapping[str, tuple[str, ...]] = UNITS) -> dict[str, tuple[str, str]]:
    """Unit → its main process, and the release that it runs."""
    running = {}
    for host, names in units.items():
        show = "pid=$(systemctl show --value --property=MainPID $unit)"
        release = '$(tr "\\0" "\\n" </proc/$pid/environ | sed -n s/^FLEET_RELEASE=//p)'
        for line in lab.ask(host, f"for unit in {' '.join(names)}; do {show}; echo $unit $pid {release}; done").splitlines():
            unit, pid, release_id = line.split()
            running[unit] = (pid, release_id)
    return running


def changed(before: dict[str, tuple[str, str]], after: dict[str, tuple[str, str]]) -> set[str]:
    return {unit for unit in before if before[unit] != after[unit]}


def steps_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.partition("Step ")[2].strip() for line in done.stdout.splitlines() if "Starting operation: Step" in line]


def kill_in_a_surge(lab: Lab, *more: str) -> None:
    """Start a deploy, and kill it while a second worker of web comes up, which its step ends by itself."""
    command = ("pyinfra", "inventory/lab.py", "deploy.py", "-y", *more)
    with subprocess.Popen(command, cwd=ROOT, env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as deploy:
        assert deploy.stdout
        for line in deploy.stdout:
            if b"Starting operation: Drain, restart and watch workers" in line:
                lab.ask("web1", "until test -e /run/systemd/system/celery-web@1-surge.service; do sleep 0.2; done")
                deploy.kill()
    assert deploy.returncode == -signal.SIGKILL


def rolling_with(folder: Path, **commands: str) -> tuple[str, str]:
    """ROLLING, with hooks."""
    made = folder / "-".join(commands)
    shutil.copytree(ROLLING[1], made)
    with (made / "all.py").open("a") as file:
        file.write(f"hooks = { ({name: {'command': command, 'timeout': 60} for name, command in commands.items()})!r}\n")
    return ROLLING[0], str(made)


@pytest.mark.slow
def test_a_hook_that_fails_stops_a_deploy_before_anything_goes_down(lab: Lab, other: tuple[str, str], tmp_path: Path) -> None:
    first = {host: units[:1] for host, units in UNITS.items()}  # the first deploy made one of each
    before = running_units(lab, first)
    failure = tmp_path / "failure"
    more = rolling_with(
        tmp_path,
        before_rollout="echo no such table: orders; exit 3",
        on_failure=f'echo "$FLEET_SCRIPT $FLEET_OUTCOME $FLEET_ERRORS" >{failure}',
    )
    done = lab.deploy(*more, *other)
    assert done.returncode == 1, done.stdout
    assert "before_rollout failed with exit code 3: no such table: orders" in done.stdout
    assert steps_of(done) == [] and running_units(lab, first) == before
    assert failure.read_text().startswith("deploy.py failed ") and "no such table: orders" in failure.read_text()
    assert "before_rollout on " in lab.run("fleet", "history", "inventory/lab.py", "--why").stdout


def test_releases_good_and_bad_under_load_and_every_task_accounted_for(lab: Lab, other: tuple[str, str], tmp_path: Path) -> None:
    """From now on, there are two workers of web and batch."""
    about = "echo $(id -un) in $(pwd); python -c 'import shop.app, os; print(os.environ[\"CELERY_BROKER_URL\"])'"
    more = rolling_with(tmp_path, before_rollout=about, after_rollout="echo all of them run it; touch here || echo read-only")
    done = lab.deploy(*more, *other)
    assert done.returncode == 0, done.stdout
    assert "before_rollout: done in " in done.stdout and "after_rollout: done in " in done.stdout
    assert re.search(r"celery in /opt/fleet/releases/[0-9a-f]{12}/src", done.stdout) and "<CELERY_BROKER_URL>" in done.stdout
    begun = [done.stdout.index(f"Starting operation: {name}") for name in ("Run before", "Step 1 of", "Step 2 of", "Run after")]
    assert begun == sorted(begun)
    assert "read-only" in done.stdout, "the release is not the hook's to change"
    before = running_units(lab)
    assert len({release for _, release in before.values()}) == 1
    log = tmp_path / "log"
    account = lab.drill("rollout", *ROLLING, "--before", "5", "--phases", ",".join(PHASES), log=log, timeout=2400)
    assert (account["lost"], account["run_twice"]) == (0, 0)
    assert account["sent"] == account["finished"] > 100
    assert [phase["name"] for phase in account["phases"]] == list(PHASES)
    assert all(phase["finished"] for phase in account["phases"])
    # The fleet runs the releases that it ran before.
    after = running_units(lab)
    assert {unit: release for unit, (_, release) in after.items()} == {unit: release for unit, (_, release) in before.items()}
    text = log.read_text()
    assert "tasks failed, of the others'" in text
    assert "What every worker of this run is now" in text


def test_back_to_the_release_before(lab: Lab) -> None:
    before = running_units(lab)
    done = lab.run("pyinfra", "inventory/lab.py", "rollback.py", "-y", *ROLLING)
    assert done.returncode == 0, done.stdout
    after = running_units(lab)
    assert changed(before, after) == set(before)
    (now,) = {release for _, release in after.values()}
    assert now not in {release for _, release in before.values()}
    done = lab.run("pyinfra", "inventory/lab.py", "rollback.py", "-y", *ROLLING, "--data", "release=nosuch")
    assert done.returncode == 1
    assert "release: no run has brought nosuch; to go back to there are: " in done.stdout


def test_a_restart_says_its_steps(lab: Lab) -> None:
    before = running_units(lab)
    dry = lab.run("pyinfra", "inventory/lab.py", "restart.py", "--dry", *ROLLING, "--data", "role=batch")
    assert dry.returncode == 0, dry.stdout
    assert "Step 1 of 2: canary: batch1:batch@1" in dry.stdout
    assert running_units(lab) == before
    done = lab.run("pyinfra", "inventory/lab.py", "restart.py", "-y", *ROLLING, "--data", "role=btach")
    assert done.returncode == 1
    assert "role: no role btach; the roles are web, batch, gpu" in done.stdout


def test_a_second_run_is_told_who_is_at_work(lab: Lab) -> None:
    before = running_units(lab)
    held = '{"who": "somebody@elsewhere", "pid": 1, "at": "2026-11-21T12:00:00Z", "what": "deploy.py"}'
    lab.ask("broker1", f"echo {b64encode(held.encode()).decode()} | base64 -d >/var/lib/fleet/lock")
    done = lab.run("pyinfra", "inventory/lab.py", "restart.py", "-y", *ROLLING)
    assert done.returncode == 1, done.stdout
    assert "deploy.py by somebody@elsewhere (process 1) holds the lock since 2026-11-21T12:00:00Z" in done.stdout
    assert running_units(lab) == before
    assert "somebody@elsewhere" in lab.run("fleet", "unlock", "inventory/lab.py").stdout


def test_ctrl_c_leaves_nobody_stopped(lab: Lab) -> None:
    before = running_units(lab)
    with subprocess.Popen(
        ["pyinfra", "inventory/lab.py", "restart.py", "-y", *ROLLING, "--data", "role=web"],
        cwd=ROOT,
        env=lab.environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as restart:
        assert restart.stdout
        for line in restart.stdout:
            if "Starting operation: Drain, restart and watch workers" in line:
                restart.send_signal(signal.SIGINT)
            elif "interrupted: " in line:
                restart.send_signal(signal.SIGINT)  # somebody in a hurry
    assert restart.returncode == 130
    # The machine finishes its step: the first worker restarts, the second is as it was.
    lab.ask("web1", "flock /var/lib/fleet/step.lock true")
    assert changed(before, running_units(lab)) <= {"celery-web@1"}
    assert lab.run("fleet", "unlock", "inventory/lab.py").stdout == "no run holds the lock\n"


def test_every_run_that_changed_something_is_recorded(lab: Lab) -> None:
    done = lab.run("fleet", "history", "inventory/lab.py", "--json")
    assert done.returncode == 0, done.stdout
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert (runs[-1]["what"], runs[-1]["outcome"]) == ("restart.py", "interrupted")
    assert runs[-1]["planned"] == ["web1:web@1", "web1:web@2"]
    assert {run["outcome"] for run in runs} >= {"done", "failed"}
    drilled = [run for run in runs if run.get("drill") and run["outcome"] == "failed"]
    canaries = [host for run in drilled for step in run["steps"] if step["canary"] for host in step["hosts"].values()]
    assert any(host["put_back"] and "tasks failed, of the others'" in host["notes"][0] for host in canaries)
    last = lab.run("fleet", "history", "inventory/lab.py", "--last").stdout
    assert "restart.py" in last
    assert "interrupted" in last
    assert lab.run("fleet", "unlock", "inventory/lab.py").stdout == "no run holds the lock\n"


@pytest.mark.slow
def test_a_changed_flag_restarts_whom_it_concerns_in_steps_and_not_while_unknown_tasks_wait(
    lab: Lab, other: tuple[str, str], tmp_path: Path
) -> None:
    done = lab.deploy(*ROLLING, *other)
    assert done.returncode == 0, done.stdout
    before = running_units(lab)
    shutil.copytree(ROLLING[1], tmp_path / "more")
    for name in ("web", "batch"):
        path = tmp_path / "more" / f"{name}.py"
        path.write_text(path.read_text().replace("}", '"log_level": "WARNING"}'))
    flag = ("--group-data", str(tmp_path / "more"), *other)
    lab.ask("web1", "systemctl stop celery-web@1 celery-web@2")  # no worker may take the task before the deploy looks
    send = "from celery import Celery; Celery().send_task('shop.tasks.orders.forgotten', queue='priority')"
    done = lab.run("fleet", "connect", "inventory/lab.py", "--", "python", "-W", "ignore", "-c", send)
    assert done.returncode == 0, done.stdout
    done = lab.deploy(*flag)
    assert done.returncode == 1, done.stdout
    assert "1 × shop.tasks.orders.forgotten in priority" in done.stdout
    assert "--data discard_tasks=shop.tasks.orders.forgotten" in done.stdout
    assert steps_of(done) == []
    shutil.copytree(tmp_path / "more", tmp_path / "less")
    web = tmp_path / "less" / "web.py"
    web.write_text(web.read_text().replace('["default", "priority"]', '["default"]'))
    done = lab.run("pyinfra", "inventory/lab.py", "deploy.py", "--dry", "--group-data", str(tmp_path / "less"), *other)
    assert done.returncode == 1, done.stdout
    assert "1 tasks wait in priority" in done.stdout
    assert "--data abandon_queues=priority" in done.stdout
    lab.ask("web1", "systemctl start celery-web@1 celery-web@2")  # with their old flag: they take the task, and park it
    done = lab.deploy(*flag, "--data", "discard_tasks=shop.tasks.orders.forgotten")
    assert done.returncode == 0, done.stdout
    assert steps_of(done) == ["1 of 2: canary: web1:web@1, batch1:batch@1", "2 of 2: web1:web@2, batch1:batch@2"]
    assert changed(before, running_units(lab)) == {"celery-web@1", "celery-web@2", "celery-batch@1", "celery-batch@2"}
    done = lab.run("fleet", "parked", "list", "inventory/lab.py")
    assert "shop.tasks.orders.forgotten" in done.stdout
    assert ": no task of " in done.stdout
    done = lab.run("fleet", "parked", "drop", "inventory/lab.py", "--all")
    assert int(done.stdout.removeprefix("dropped: ")) >= 1


@pytest.mark.slow
def test_a_killed_deploy_of_the_demos_fleet(lab: Lab) -> None:
    """As the README has it: one worker a role, so that each step starts a second one."""
    account = lab.drill("rollout", "--phases", "killed", timeout=2400)
    assert (account["lost"], account["run_twice"]) == (0, 0)
    assert account["sent"] == account["finished"] > 100


@pytest.mark.slow
def test_a_deploy_that_was_killed_in_its_step_is_followed_by_another(lab: Lab, other: tuple[str, str], tmp_path: Path) -> None:
    """The step goes on by itself: it starts a second worker for the only one of each role, which then serves its queues while the
    next deploy restarts that."""
    done = lab.deploy()  # one worker a role
    assert done.returncode == 0, done.stdout
    (third := another_release(tmp_path)).joinpath("another").write_text("release, that is killed\n")
    kill_in_a_surge(lab, "--data", f"app_source={third}")
    under_load(lab, "pyinfra", "inventory/lab.py", "deploy.py", "-y", *ROLLING, *other)
    assert len({release for _, release in running_units(lab).values()}) == 1
