"""The `fleet` command answers a mistake with a helpful line, and exit 1."""

from pathlib import Path

import pytest

from fleet.spec.secrets import GENERATED
from tests.unit.fleet.cli.cli_support import fleet, make_project

ROOT = Path(__file__).parents[4]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path)
    return tmp_path


def test_secrets_are_made_once(tmp_path: Path) -> None:
    done = fleet(tmp_path, "secrets", "secrets/prod.env")
    assert done.returncode == 0
    assert done.stdout == f"secrets/prod.env: added {', '.join(GENERATED)}\n"
    done = fleet(tmp_path, "secrets", "secrets/prod.env")
    assert done.stdout == "secrets/prod.env: has all that the broker needs\n"


def test_connect_without_secrets_says_how_to_make_them(project: Path) -> None:
    done = fleet(project, "connect", "prod.py", "--", "true")
    assert (done.returncode, done.stderr) == (1, "s.env: no such file; make one with: fleet secrets s.env\n")


@pytest.mark.long
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
