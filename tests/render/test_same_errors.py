"""A mistake in an inventory, in group data or in a file beside them reads the same in `pyinfra` and in `fleet lint`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleet.spec import secrets
from tests.render.conftest import ROOT

INVENTORY = """\
_answer = {"MemTotal": "memory\\t4194304\\ncores\\t4\\npython\\t3.11\\nend"}
_fake = {"fake_delay": 0, "fake_delay_jitter": 0, "fake_responses": _answer}
broker = [("@fake/broker1", {"lan_address": "10.0.0.10", **_fake})]
web = [("@fake/web1", _fake)]
batch = [("@fake/batch1", _fake)]
"""
LINES = len(INVENTORY.splitlines())
WEB = 'web_worker = {\n    "queues": ["default"],\n    "concurrency": 2,\n}\n'
ALL = 'celery_app = "app"\napp_source = "app"\nsecrets_file = "secrets.env"\n'


@dataclass(frozen=True)
class Broken:
    """A project with a mistake. expected: what both commands print. inventory: how it is named. files: name → content that is
    written, or appended if it begins with a newline; None removes it. act: what is done to the folder besides."""

    expected: str
    files: dict[str, str | bytes | None] = field(default_factory=dict)
    inventory: str = "prod.py"
    act: Callable[[Path], object] = lambda project: None


def inventory(more: str) -> dict[str, str | bytes | None]:
    return {"prod.py": INVENTORY + more}


AFTER = f"prod.py, line {LINES + 1}: "
CASES = {
    "syntax": Broken(AFTER + "SyntaxError: '[' was never closed", inventory("gpu = [\n")),
    "name": Broken(AFTER + "NameError: name 'wbe' is not defined", inventory("gpu = wbe\n")),
    "import": Broken(AFTER + "ModuleNotFoundError: No module named 'no_such'", inventory("import no_such\n")),
    "name from a module": Broken(
        AFTER + "ImportError: cannot import name 'x' from 'machines'",
        {**inventory("from machines import x\n"), "machines.py": ""},
    ),
    "in a module": Broken(
        AFTER + "NameError: name 'y' is not defined (in machines.py, line 2)",
        {**inventory("import machines\n"), "machines.py": "\nx = y\n"},
    ),
    "syntax of a module": Broken(
        AFTER + "SyntaxError: invalid syntax (in machines.py, line 1)",
        {**inventory("import machines\n"), "machines.py": "x = = 1\n"},
    ),
    "an error of several lines": Broken(AFTER + "ValueError: one two", inventory('raise ValueError("one\\ntwo")\n')),
    "exit": Broken("no machine is up", inventory('raise SystemExit("no machine is up")\n')),
    "text": Broken(
        AFTER + 'web: no list in the inventory, so that no host is in the group; write web = ["host", …]',
        inventory('web = "web1"\n'),
    ),
    "tuple": Broken(
        AFTER + 'web: no list in the inventory, so that no host is in the group; write web = ["host", …]',
        inventory('web = ("web1", "web2")\n'),
    ),
    "number": Broken(AFTER + 'web: 7 is no host; write "host", or ("host", {"setting": …})', inventory('web = ["web1", 7]\n')),
    "numbers": Broken(AFTER + 'web: 7 is no host; write "host"', inventory("web = [7]\n")),
    "half a pair": Broken(AFTER + "web: ('web1',) is no host; write", inventory('web = [("web1",)]\n')),
    "no name": Broken(AFTER + "web: '' is no host; write", inventory('web = [""]\n')),
    "doubled": Broken(
        f"prod.py, line {LINES + 3}: web: @fake/web1 is in the list twice",
        inventory('web = [\n    ("@fake/web1", _fake),\n    "@fake/web1",\n]\n'),
    ),
    "not UTF-8": Broken(
        f"prod.py, line {LINES + 2}: the byte 0xfc is not UTF-8; save the file as UTF-8",
        {"prod.py": INVENTORY.encode() + b"\n# f\xfcr\n"},
    ),
    "byte order mark": Broken(
        "prod.py, line 1: SyntaxError: invalid non-printable character U+FEFF", {"prod.py": b"\xef\xbb\xbf" + INVENTORY.encode()}
    ),
    "null byte": Broken("prod.py: ", {"prod.py": b"web = ['\0']\n"}),
    "empty": Broken('prod.py: no host is in it; write a list of hosts a group, as in web = ["web1"]', {"prod.py": ""}),
    "missing": Broken("staging.py: no such inventory file", inventory="staging.py"),
    "folder": Broken(
        "machines: a folder, and no inventory file", inventory="machines", act=lambda project: (project / "machines").mkdir()
    ),
    "data: syntax": Broken("group_data/web.py, line 5: SyntaxError: invalid syntax", {"group_data/web.py": WEB + "x = = 1\n"}),
    "data: name": Broken("group_data/web.py, line 5: NameError: name 'y' is not defined", {"group_data/web.py": WEB + "x = y\n"}),
    "data: import": Broken(
        "group_data/all.py, line 4: ModuleNotFoundError: No module named 'no_such'",
        {"group_data/all.py": ALL + "import no_such\n"},
    ),
    "data: not UTF-8": Broken(
        "group_data/web.py, line 5: the byte 0xff is not UTF-8; save the file as UTF-8",
        {"group_data/web.py": WEB.encode() + b"# \xff\n"},
    ),
    "data: folder": Broken(
        "group_data/mail.py: Is a directory", act=lambda project: (project / "group_data" / "mail.py").mkdir()
    ),
    "data: unreadable": Broken(
        "group_data/web.py: Permission denied", act=lambda project: (project / "group_data" / "web.py").chmod(0)
    ),
    "data: all unreadable": Broken("group_data: Permission denied", act=lambda project: (project / "group_data").chmod(0)),
    "unknown key": Broken(
        "group_data/web.py, line 4: web_worker.concurency: unknown setting; did you mean concurrency?",
        {"group_data/web.py": WEB.replace("}", '    "concurency": 3,\n}')},
    ),
    "unknown setting": Broken(
        "group_data/all.py, line 4: celery_ap: unknown setting; did you mean celery_app?",
        {"group_data/all.py": ALL + "celery_ap = 1\n"},
    ),
    "setting of a host": Broken(
        f"prod.py, line {LINES + 1}: celery_ap: unknown setting; did you mean celery_app?",
        inventory('web += [("@fake/web2", {"celery_ap": 1, **_fake})]\n'),
    ),
    "wrong type": Broken(
        "group_data/web.py, line 3: web_worker.concurrency: write a number such as 8, ",
        {"group_data/web.py": WEB.replace("2,", '"two",')},
    ),
    "text for a list": Broken(
        "group_data/web.py, line 2: web_worker.queues: write a list such as [\"default\"], found 'default'",
        {"group_data/web.py": WEB.replace('["default"]', '"default"')},
    ),
    "no dict": Broken(
        "group_data/web.py, line 1: web_worker: write a dict of settings, found 4", {"group_data/web.py": "web_worker = 4\n"}
    ),
    "requirements: not UTF-8": Broken(
        "app/requirements.txt, line 2: the byte 0xe9 is not UTF-8; save the file as UTF-8",
        {"app/requirements.txt": b"celery==5.7.0\n# \xe9\nredis==5.0.0\n"},
    ),
    "requirements: unreadable": Broken(
        "app/requirements.txt: Permission denied", act=lambda project: (project / "app" / "requirements.txt").chmod(0)
    ),
    "app: name": Broken(
        "group_data/all.py, line 2: app_source: the name b'data/\\xff.csv' is not UTF-8; rename the file, or name it",
        {"app/data/" + os.fsdecode(b"\xff.csv"): ""},
    ),
    "app: unreadable": Broken(
        "group_data/all.py, line 2: app_source: app/app.py: Permission denied; make it readable, or name it in app_exclude",
        act=lambda project: (project / "app" / "app.py").chmod(0),
    ),
    "app: folder unreadable": Broken(
        "group_data/all.py, line 2: app_source: app/data: Permission denied; make it readable, or name it in app_exclude",
        act=lambda project: (project / "app" / "data").mkdir(mode=0),
    ),
    "secrets: not UTF-8": Broken(
        "secrets.env, line 3: the byte 0xe9 is not UTF-8; save the file as UTF-8", {"secrets.env": b"\nA=1\nB=\xe9\nC=3\n"}
    ),
    "secrets: no name": Broken("secrets.env, line 2: write NAME=value", {"secrets.env": "A=1\nhunter2\n"}),
    "secrets: folder": Broken(
        "secrets.env: Is a directory", {"secrets.env": None}, act=lambda project: (project / "secrets.env").mkdir(mode=0o700)
    ),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / "group_data").mkdir(parents=True)
    (project / "app").mkdir()
    for name in ("deploy.py", "config.py", "roles", "fleet", "fleet_node", "templates", "requirements"):
        (project / name).symlink_to(ROOT / name)
    files = {"prod.py": INVENTORY, "group_data/web.py": WEB, "group_data/all.py": ALL, "app/app.py": ""}
    files["group_data/batch.py"] = 'batch_worker = {"queues": ["batch"], "concurrency": 1}\n'
    files["app/requirements.txt"] = "celery[redis]==5.7.0\nredis==5.0.0\n"
    for name, text in files.items():
        (project / name).write_text(text)
    secrets.ensure(project / "secrets.env")
    return project


def command(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run as a user who may not read everything."""
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    path = str(Path(sys.executable).parent / words[0])
    return subprocess.run(
        [*drop, path, *words[1:]], cwd=project, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_project_is_well_but_for_the_mistakes(project: Path) -> None:
    lint = command(project, "fleet", "lint", "prod.py", "--assume", "cores=4,memory=8G", "--no-app")
    deploy = command(project, "pyinfra", "prod.py", "deploy.py", "--dry")
    assert lint.returncode != 2, lint.stderr
    assert deploy.returncode == 0, deploy.stderr


# Each takes seconds, and they are alike: every fifth is of make test.
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if number % 5 else case for number, case in enumerate(CASES)]
)
def test_both_commands_say_the_same(project: Path, case: str) -> None:
    broken = CASES[case]
    for name, content in broken.files.items():
        path = project / name
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    broken.act(project)
    lint = command(project, "fleet", "lint", broken.inventory, "--assume", "cores=4,memory=8G", "--no-app")
    deploy = command(project, "pyinfra", broken.inventory, "deploy.py", "--dry")
    (line,) = lint.stderr.splitlines()
    assert line.startswith(broken.expected)
    assert lint.returncode == 2
    assert deploy.returncode == 1, deploy.stderr
    assert f"1 mistake(s), nothing was changed:\n    {line}\n" in deploy.stderr
    for done in (lint, deploy):
        assert "Traceback" not in done.stdout + done.stderr
    assert not (project / "pyinfra-debug.log").exists()


def test_an_inventory_that_may_not_be_read_is_refused_with_the_arguments(project: Path) -> None:
    """pyinfra looks before it reads any file of ours, and both have click's words for it."""
    (project / "prod.py").chmod(0)
    for words in (("fleet", "lint", "prod.py"), ("pyinfra", "prod.py", "deploy.py")):
        done = command(project, *words)
        assert done.returncode == 2
        assert "'prod.py' is not readable" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_is_no_group_is_no_mistake(project: Path) -> None:
    """Tuples in group data, in a folder of another name too, and a host whose name ends as a file's does."""
    (project / "more").mkdir()
    (project / "more" / "web.py").write_text(WEB + "_ports = (80, 443)\n_pair = ('a', 'b')\n")
    done = command(project, "pyinfra", "prod.py", "deploy.py", "--dry", "--group-data", "more")
    assert done.returncode == 0, done.stderr
    done = command(project, "pyinfra", "nowhere.example.com.py,also.example.com.py", "debug-inventory")
    assert done.returncode == 0, done.stderr
