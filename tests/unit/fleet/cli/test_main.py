"""The `fleet` command answers a mistake with a helpful line, and exit 1."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.fleet_support import PINS

ROOT = Path(__file__).parents[4]


def fleet(cwd: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).parent / "fleet"), *words]
    environment = {**os.environ, "FLEET_LAB": "no-such-lab"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The smallest fleet there is: a broker on this machine's loopback, where nothing listens for SSH, and one worker."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "requirements.txt").write_text(PINS)
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text("celery_app = 'app'\napp_source = 'app'\nsecrets_file = 's.env'\n")
    (tmp_path / "group_data" / "web.py").write_text("web_worker = {'queues': ['default'], 'concurrency': 1}\n")
    (tmp_path / "prod.py").write_text("broker = [('127.0.0.1', {'lan_address': '10.0.0.10', 'ssh_port': 9})]\nweb = ['web1']\n")
    return tmp_path


def test_secrets_are_made_once(tmp_path: Path) -> None:
    done = fleet(tmp_path, "secrets", "secrets/prod.env")
    assert done.returncode == 0
    assert done.stdout == "secrets/prod.env: added BROKER_WORKER_PASSWORD, BROKER_MONITOR_PASSWORD\n"
    done = fleet(tmp_path, "secrets", "secrets/prod.env")
    assert done.stdout == "secrets/prod.env: has all that the broker needs\n"


def test_connect_without_secrets_says_how_to_make_them(project: Path) -> None:
    done = fleet(project, "connect", "prod.py", "--", "true")
    assert (done.returncode, done.stderr) == (1, "s.env: no such file; make one with: fleet secrets s.env\n")


def test_connect_without_ssh_says_what_ssh_said(project: Path) -> None:
    fleet(project, "secrets", "s.env")
    done = fleet(project, "connect", "prod.py", "--", "true")
    assert done.returncode == 1
    assert "127.0.0.1 port 9: Connection refused" in done.stderr
    assert "Traceback" not in done.stderr


def test_connect_without_an_inventory(project: Path) -> None:
    done = fleet(project, "connect", "stage.py", "--", "true")
    assert (done.returncode, done.stderr) == (1, "stage.py: no such inventory file\n")


def test_connect_without_a_lab_says_how_to_start_one(project: Path) -> None:
    done = fleet(project, "connect", str(ROOT / "inventory" / "lab.py"), "--", "true")
    assert done.returncode == 1
    assert done.stderr == "no lab 'no-such-lab' is running; start it with: fleet lab up --name no-such-lab\n"


def test_connect_with_a_mistake_in_the_settings(project: Path) -> None:
    (project / "group_data" / "web.py").write_text("web_worker = {'queues': [], 'concurrency': 1}\n")
    done = fleet(project, "connect", "prod.py", "--", "true")
    assert done.returncode == 1
    assert done.stderr.startswith("group_data/web.py, line 1: web_worker.queues: found none, write at least one")


def lint(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return fleet(project, "lint", "prod.py", "--assume", "cores=4,memory=8G", *words)


def test_lint_shows_every_flag_and_what_it_found(project: Path) -> None:
    done = lint(project, "--no-app")
    assert done.returncode == 1, done.stderr
    head, row = done.stdout.splitlines()[:2]
    assert head.split()[:4] == ["ROLE", "HOSTS", "POOL", "-c"]
    assert row.split() == [
        "web",
        "web1",
        "prefork",
        "1",
        "1",
        "disabled",
        "-/600/660s",
        "1000/5898M",
        "-/7372M",
        "100",
        "default",
    ]
    assert "warning web_worker.queues: one consumer in the whole fleet for default (web1) [single-consumer]" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 hosts, tasks at once: 1, errors: 0, warnings: 1"


def test_lint_that_finds_nothing_exits_0(project: Path) -> None:
    (project / "group_data" / "web.py").write_text("web_worker = {'queues': ['default'], 'concurrency': 1, 'instances': 2}\n")
    done = lint(project, "--no-app")
    assert (done.returncode, done.stderr) == (0, "")


def test_lint_as_json(project: Path) -> None:
    done = lint(project, "--no-app", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["workers"][0]["host"] == "web1"
    assert report["workers"][0]["memory_max"] == 7372 << 20
    assert [finding["rule"] for finding in report["findings"]] == ["single-consumer", "memory-assumed"]
    assert (report["lease"], report["visibility_timeout"]) == (60, 3600)


def test_lint_looks_at_the_app(project: Path) -> None:
    (project / "app" / "app.py").write_text(
        "from celery import Celery\napp = Celery('app')\n@app.task(name='mail', queue='mail')\ndef mail(): pass\n"
    )
    done = lint(project, "--python", sys.executable)
    assert done.returncode == 1
    assert (
        "error app: queue mail: no worker consumes it, and this is routed there: mail; add mail to a role's queues" in done.stdout
    )
    assert "note app: task_acks_late: set for mail, which the app would lose with a worker" in done.stdout


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (
            {"group_data/web.py": "web_worker = {'queues': ['a'], 'concurency': 4}"},
            ["--no-app"],
            "web_worker.concurency: unknown",
        ),
        ({"app/app.py": "import nowhere"}, ["--python", sys.executable], "celery_app app does not import: "),
        ({}, ["--no-app", "--assume", "cores=x"], "--assume cores=x: memory missing; write e.g. cores=8,memory=16G,gpus=1"),
        ({"group_data/web.py": "web_worker = {"}, ["--no-app"], "group_data/web.py, line 1: SyntaxError: '{' was never closed"),
        ({"app/requirements.txt": f"{PINS}no-such-package-anywhere==1.0"}, [], "no venv for the app: "),
    ],
)
def test_lint_that_cannot_look_exits_2(project: Path, change: dict[str, str], words: list[str], message: str) -> None:
    for name, text in change.items():
        (project / name).write_text(text + "\n")
    done = lint(project, *words)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_lint_that_reaches_no_machine_exits_2_and_says_what_to_do(project: Path) -> None:
    (project / "prod.py").write_text(
        "_at = {'lan_address': '127.0.0.1', 'ssh_hostname': '127.0.0.1', 'ssh_port': 9}\n"
        "broker = [('b', _at)]\nweb = [('web1', _at)]\n"
    )
    done = fleet(project, "lint", "prod.py", "--no-app")
    assert done.returncode == 2
    assert "web1: ssh: connect to host 127.0.0.1 port 9: Connection refused" in done.stderr
    assert "--assume cores=8,memory=16G,gpus=1" in done.stderr
