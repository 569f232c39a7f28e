"""`fleet balance` on a fleet whose workers run here: it says who could help, and has them help."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fleet.cli.native_support import FLEET, GROUP_DATA, Project, project
from tests.unit.fleet_node.delivery.lease_support import begun, ended, send, twice, until

pytestmark = pytest.mark.long
ROLE = '{role}_worker = {{"queues": ["{queue}"], "concurrency": 4, "instances": 1, "min_consumers": 1{more}}}\n'
OLD = """
from fleet_node.worker import sign
age = sign.age
sign.age = lambda: age() + 3600
"""
"""Workers that were started an hour ago."""
LENDER = "batch-worker-1@batch1"


@pytest.fixture
def two_roles(tmp_path: Path) -> Iterator[Project]:
    """web consumes `default`, of which a task may wait a second, and batch `reports`."""
    data = {
        "all": 'celery_app, app_source, secrets_file = "shop.app", "app", "s.env"\nslo = {"default": 1}\n',
        "web": ROLE.format(role="web", queue="default", more=""),
        "batch": ROLE.format(role="batch", queue="reports", more=""),
    }
    with project(tmp_path, machines={"web1": "web", "batch1": "batch"}, group_data=data) as made:
        release = made.here.release("r", OLD)
        for host, queue in (("web1", "default"), ("batch1", "reports")):
            made.machines[host].start(release, queues=(queue,))
        yield made


def busy(made: Project, tasks: int) -> None:
    """Some have ended, so that it is known how long they take, and many wait: also where a command takes ten seconds to start."""
    with made.here.client() as client:
        for number in range(tasks):
            send(client, number, 1)
        assert until(lambda: len(ended(made.here)) >= 8)


def balance(made: Project, *words: str) -> "subprocess.CompletedProcess[str]":
    return made.fleet("balance", "prod.py", "--seconds", "4", *words)


def test_it_says_who_could_help_and_moves_nothing(two_roles: Project) -> None:
    busy(two_roles, 120)
    done = balance(two_roles)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ROLES", "OBJECTIVE", "WAIT", "IN/s", "BUSY", "SLOTS", "BORROWS", "FREE"]
    assert lines[1].split()[:2] == ["web", "1s"]
    assert any(line.startswith("lent to web: its tasks wait") for line in lines)
    assert f"  {LENDER}: consumes default too, for 5 min" in lines
    assert "--apply does it" in done.stderr
    assert "batch: nobody said how long its tasks may wait" in done.stdout
    assert workers(two_roles) == {"web-worker-1@web1"}
    assert two_roles.fleet("history", "prod.py").stdout == "no run has changed anything yet\n"


def test_it_lends_an_idle_worker_out_and_records_it(two_roles: Project) -> None:
    busy(two_roles, 120)
    done = balance(two_roles, "--apply", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    (move,) = plan["moves"]
    assert (move["roles"], move["kind"], move["lacking"]) == ("web", "lend", 0)
    assert move["orders"] == [{"node": LENDER, "queues": ["default"], "slots": 0, "seconds": 300.0}]
    assert plan["roles"]["web"]["wait_s"] > 1
    assert (plan["roles"]["batch"]["takes"], plan["roles"]["web"]["objective_s"]) == (["web"], 1.0)
    assert until(lambda: ended(two_roles.here) == set(range(120)), 90)
    assert workers(two_roles) == {"web-worker-1@web1", LENDER}
    assert not twice(two_roles.here)
    entry = two_roles.fleet("history", "prod.py", "--last").stdout
    assert "fleet balance: lent to web: its tasks wait" in entry
    assert f"{LENDER}: consumes default too, for 5 min" in entry
    lent = json.loads(balance(two_roles, "--json").stdout)["roles"]["batch"]["lent"]
    assert lent[LENDER]["queues"] == ["default"]
    assert any(LENDER in line for line in balance(two_roles).stdout.splitlines() if line.startswith("web"))


def test_it_moves_nothing_while_a_run_is_at_work(two_roles: Project) -> None:
    busy(two_roles, 120)
    (two_roles.machines["web1"].root.parent / "b" / "state" / "lock").write_text("{}")
    done = balance(two_roles, "--apply")
    assert done.returncode != 0
    assert "holds the lock" in done.stderr
    assert workers(two_roles) == {"web-worker-1@web1"}


def test_it_goes_on_looking_until_ctrl_c(two_roles: Project) -> None:
    watching = subprocess.Popen(
        [FLEET, "balance", "prod.py", "--watch", "--apply"],
        cwd=two_roles.folder, env=two_roles.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        with two_roles.here.client() as client:
            for number in range(400):
                send(client, number, 1)
        assert watching.stdout
        assert "lent to web" in watching.stdout.readline()
        assert until(lambda: LENDER in workers(two_roles))
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=20)
    finally:
        watching.kill()
    assert (watching.returncode, errors.splitlines()[-1]) == (0, "what is lent out comes back by itself within five minutes")


def test_it_moves_nothing_for_workers_that_have_just_started(tmp_path: Path) -> None:
    data = {"all": GROUP_DATA["all"] + 'slo = {"default": 1}\n'}
    with project(tmp_path, group_data=data) as made:
        made.here.start(made.here.release("r"), queues=("default",))
        busy(made, 400)
        done = balance(made, "--apply")
    assert done.returncode == 0, done.stderr
    assert "nothing is moved for web: its tasks wait" in done.stdout


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (', "time_limit": 30', "a task of web may run 600 s, and one in batch 30 s"),
        (', "workload": "io"', "batch runs in gevent and web in prefork"),
    ],
)
def test_it_says_why_nobody_can_help(tmp_path: Path, more: str, why: str) -> None:
    data = {
        "all": 'celery_app, app_source, secrets_file = "shop.app", "app", "s.env"\nslo = {"default": 1}\n',
        "web": ROLE.format(role="web", queue="default", more=""),
        "batch": ROLE.format(role="batch", queue="reports", more=more),
    }
    with project(tmp_path, machines={"web1": "web", "batch1": "batch"}, group_data=data) as made:
        made.machines["web1"].start(made.here.release("r", OLD), queues=("default",))
        busy(made, 400)
        done = balance(made, "--apply")
    assert done.returncode == 1, done.stderr
    assert "web lacks slots: its tasks wait" in done.stdout
    assert f"  not from batch: {why}" in done.stdout
    assert "  no more slots in web itself" in done.stdout


def workers(made: Project) -> set[Any]:
    """Those that have begun a task."""
    return {node for nodes in begun(made.here).values() for node in nodes}
