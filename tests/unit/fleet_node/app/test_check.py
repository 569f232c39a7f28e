"""`fleet_node.app.check`, in a process of its own, as a machine runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


def check(app: str, folder: Path, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {"PYTHONPATH": f"{folder}:{ROOT}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "fleet_node.app.check", app]
    return subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(
        "import os\nfrom celery import Celery\napp = Celery('jobs', include=['more'])\n"
        "@app.task(name='jobs.add')\ndef add(): pass\nLEVEL = int(os.environ['LEVEL'])\n"
    )
    (tmp_path / "more.py").write_text("from jobs import app\n@app.task(name='more.sub')\ndef sub(): pass\n")
    return tmp_path


def test_the_tasks_of_an_app_that_imports_are_listed(folder: Path) -> None:
    done = check("jobs", folder, "LEVEL=3\nMOTTO=a=b c\n")
    assert done.returncode == 0, done.stderr
    description = json.loads(done.stdout.strip().removeprefix("fleet-app: "))
    assert (description["app"], description["celery"]) == ("jobs", "5.7.0")
    assert [task["name"] for task in description["tasks"]] == ["jobs.add", "more.sub"]


@pytest.mark.parametrize(
    ("app", "stdin", "last_line"),
    [
        ("jobs", "", "KeyError: 'LEVEL' ({folder}/jobs.py, line 6)"),
        (
            "jobs",
            "LEVEL=high\n",
            "ValueError: Couldn't import 'jobs': invalid literal for int() with base 10: 'high' ({folder}/jobs.py, line 6)",
        ),
        ("nowhere", "", "ModuleNotFoundError: No module named 'nowhere'"),
        ("jobs:missing", "LEVEL=3\n", "ModuleNotFoundError: No module named 'jobs:missing'"),
    ],
)
def test_the_tracebacks_last_line_is_shown(folder: Path, app: str, stdin: str, last_line: str) -> None:
    done = check(app, folder, stdin)
    assert done.returncode == 1
    assert done.stderr == f"celery_app {app} does not import: {last_line.format(folder=folder)}\n"


def test_an_app_that_ends_itself_shows_what_it_printed(folder: Path) -> None:
    (folder / "ends.py").write_text(
        "import os, sys\nprint('a line before')\n"
        "sys.stderr.write(f'refusing to start: insecure key {os.environ[\"KEY\"]}\\nset it\\n')\nsys.exit(1)\n"
    )
    done = check("ends", folder, "KEY=correct-horse\n")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"celery_app ends does not import: SystemExit: 1 ({folder}/ends.py, line 4); "
        "it printed last: a line before | refusing to start: insecure key <KEY> | set it"
    )


def test_a_module_that_fails_to_import_is_found_too(folder: Path) -> None:
    (folder / "more.py").write_text("import no_such_package\n")
    done = check("jobs", folder, "LEVEL=3\n")
    assert done.returncode == 1
    assert "No module named 'no_such_package'" in done.stderr


def test_a_value_that_may_be_a_secret_is_not_shown(folder: Path) -> None:
    done = check("jobs", folder, "LEVEL=correct-horse\n")
    assert "<LEVEL>" in done.stderr
    assert "correct-horse" not in done.stderr
