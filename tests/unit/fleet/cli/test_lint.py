"""`fleet lint`: what it prints, what it remembers from run to run, and its exit codes."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback import sshd
from fleet.inventory import kept
from tests.unit.fleet.cli.cli_support import fleet, make_project
from tests.unit.fleet_support import PINS

ROOT = Path(__file__).parents[4]
ALL = "celery_app = 'app'\napp_source = 'app'\nsecrets_file = 's.env'\n"
SINGLE = "warning web_worker.queues: one consumer in the whole fleet for default (web1) [single-consumer]"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path)
    return tmp_path


def lint(project: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return fleet(project, "lint", "prod.py", "--assume", "cores=4,memory=8G", *words)


def test_lint_shows_every_flag_and_what_it_found(project: Path) -> None:
    done = lint(project, "--no-app")
    assert done.returncode == 0, done.stderr
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
    assert SINGLE in done.stdout
    assert done.stdout.splitlines()[-1] == "2 hosts, tasks at once: 1, errors: 0, warnings: 1"


def test_lint_that_finds_nothing_exits_0(project: Path) -> None:
    (project / "group_data" / "web.py").write_text("web_worker = {'queues': ['default'], 'concurrency': 1, 'instances': 2}\n")
    done = lint(project, "--no-app")
    assert (done.returncode, done.stderr) == (0, "")


def test_lint_as_json(project: Path) -> None:
    done = lint(project, "--no-app", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["workers"][0]["host"] == "web1"
    assert report["workers"][0]["memory_max"] == 7372 << 20
    assert [(finding["rule"], finding["new"]) for finding in report["findings"]] == [
        ("single-consumer", True),
        ("memory-assumed", True),
        ("no-secrets", True),
    ]
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


@pytest.mark.long
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
        ({"s.env": "SECRET=x"}, ["--no-app"], "s.env: others can read it"),
        (
            {"prod.py": "web = ['web1']", "group_data/all.py": f"{ALL}broker = {{'url': '@URL'}}", "s.env": "URL=redis://:a/b@c"},
            ["--no-app"],
            "s.env: URL is no URL",
        ),
        ({"app/requirements.txt": f"{PINS}no-such-package-anywhere==1.0"}, [], "no venv for the app: "),
    ],
)
def test_lint_that_cannot_look_exits_2(project: Path, change: dict[str, str], words: list[str], message: str) -> None:
    for name, text in change.items():
        (project / name).write_text(text + "\n")
        if "URL" in text:
            (project / name).chmod(0o600)
    done = lint(project, *words)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_lint_in_a_folder_that_is_gone_exits_2(project: Path) -> None:
    command = f"mkdir gone && cd gone && rmdir ../gone && {Path(sys.executable).parent / 'fleet'} lint {project / 'prod.py'}"
    done = subprocess.run(["sh", "-c", command], cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "No such file or directory" in done.stderr
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


@pytest.mark.long
def test_only_what_is_new_is_shown_in_full(project: Path) -> None:
    first = lint(project, "--no-app")
    assert SINGLE in first.stdout
    again = lint(project, "--no-app")
    assert "single-consumer" not in again.stdout
    assert "also 1 warning, 2 notes, as in earlier runs: -v shows them" in again.stdout
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert SINGLE in lint(project, "--no-app", "-v").stdout
    # A second role: its warning is new, the first one's is not.
    (project / "group_data" / "batch.py").write_text("batch_worker = {'queues': ['batch'], 'concurrency': 1}\n")
    (project / "prod.py").write_text((project / "prod.py").read_text() + "batch = ['batch1']\n")
    more = lint(project, "--no-app")
    assert "for batch (batch1) [single-consumer]" in more.stdout
    assert SINGLE not in more.stdout
    everything = json.loads(lint(project, "--no-app", "--json").stdout)["findings"]
    assert {finding["rule"] for finding in everything} == {"single-consumer", "memory-assumed", "no-secrets"}
    assert not any(finding["new"] for finding in everything)


@pytest.mark.long
def test_a_warning_that_comes_back_is_new(project: Path) -> None:
    mended = "web_worker = {'queues': ['default'], 'concurrency': 1, 'instances': 2}\n"
    broken = (project / "group_data" / "web.py").read_text()
    assert SINGLE in lint(project, "--no-app").stdout
    (project / "group_data" / "web.py").write_text(mended)
    assert "single-consumer" not in lint(project, "--no-app").stdout
    (project / "group_data" / "web.py").write_text(broken)
    assert SINGLE in lint(project, "--no-app").stdout


@pytest.mark.long
def test_errors_are_always_in_full(project: Path) -> None:
    (project / "group_data" / "web.py").write_text("web_worker = {'queues': ['default'], 'time_limit': 60, 'stop_timeout': 30}\n")
    for _ in range(2):
        done = lint(project, "--no-app")
        assert done.returncode == 1
        assert "error web_worker.stop_timeout: 30 is not above time_limit 60" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("web", "words", "code"),
    [
        ("{'queues': ['default'], 'concurrency': 1, 'instances': 2}", [], 0),  # notes alone: there is no secrets file
        ("{'queues': ['default'], 'concurrency': 1, 'instances': 2}", ["--strict"], 0),
        ("{'queues': ['default'], 'concurrency': 1}", [], 0),
        ("{'queues': ['default'], 'concurrency': 1}", ["--strict"], 1),
        ("{'queues': ['default'], 'time_limit': 60, 'stop_timeout': 30}", [], 1),
        ("{'queues': ['default'], 'time_limit': 60, 'stop_timeout': 30}", ["--strict"], 1),
        ("{'queues': []}", [], 2),
    ],
)
def test_exit_codes(project: Path, web: str, words: list[str], code: int) -> None:
    (project / "group_data" / "web.py").write_text(f"web_worker = {web}\n")
    for _ in range(2):  # that a warning is known does not make it less
        done = lint(project, "--no-app", *words)
        assert done.returncode == code
        if code == 1:
            assert " warning " in done.stdout or " error " in done.stdout, "what the command fails for is shown"


@pytest.mark.long
def test_another_working_directory_is_told(project: Path, tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    inventory = project / "inventory" / "prod.py"
    inventory.parent.mkdir()
    (project / "prod.py").rename(inventory)
    done = fleet(elsewhere, "lint", str(inventory), "--assume", "cores=8,memory=16G")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{inventory}: no group_data/ beside it, nor in {elsewhere}; run this in the folder")


@pytest.mark.long
def test_no_secrets_file_is_a_note(project: Path) -> None:
    done = lint(project, "--no-app")
    assert "note secrets_file: s.env: no such file, and a deploy needs it; make one with: fleet secrets s.env" in done.stdout
    fleet(project, "secrets", "s.env")
    assert "secrets_file" not in lint(project, "--no-app", "-v").stdout


@pytest.mark.long
@pytest.mark.parametrize("damage", ["", "{", '{"version": 2}', "[" * 100000])
def test_what_earlier_runs_reported_cannot_be_read(project: Path, damage: str) -> None:
    lint(project, "--no-app")
    file = kept.folder(project / "prod.py") / "findings.json"
    file.write_text(damage)
    done = lint(project, "--no-app")
    assert SINGLE in done.stdout
    assert f"note {file}: not read, since it is damaged, or of another version of celery-fleet" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert SINGLE not in lint(project, "--no-app").stdout


def test_nothing_can_be_kept(project: Path) -> None:
    (project / "state").write_text("no folder")
    done = fleet(project, "lint", "prod.py", "--no-app", "--assume", "cores=4,memory=8G", XDG_STATE_HOME=str(project / "state"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "not written: Not a directory; XDG_STATE_HOME says where to keep it" in done.stdout


def on(port: int, **data: Any) -> str:
    """An inventory whose machines are an sshd on loopback, and one that never answers."""
    at = {"ssh_hostname": "127.0.0.1", "ssh_port": port, "lan_address": "127.0.0.1", **data}
    return f"_at = {at!r}\nbroker = [('b', _at)]\nweb = [('web1', _at), ('web2', {{**_at, 'ssh_port': 9}})]\n"


@pytest.mark.long
def test_a_machine_that_is_down_is_linted_by_its_last_facts(project: Path, tmp_path: Path) -> None:
    inventory = project / "prod.py"
    with sshd(tmp_path / "sshd") as server:
        reach = {"ssh_user": server.user, "ssh_key": str(server.key), "ssh_known_hosts_file": str(server.known_hosts)}
        inventory.write_text(on(server.port, **reach))
        up = fleet(project, "lint", "prod.py", "--no-app", "--json")
    assert up.returncode == 0, up.stderr
    machines = json.loads(up.stdout)["machines"]
    assert set(machines) == {"b", "web1", "web2"}
    assert (
        "no facts of web2 are kept, and it did not answer: it is taken for a machine like others of its roles "
        "(ssh: connect to host 127.0.0.1 port 9: Connection refused)" in up.stdout
    )
    # Now no machine answers, and two were seen three hours ago.
    file = kept.folder(inventory) / "facts.json"
    assert file.stat().st_mode & 0o777 == 0o600
    text = json.loads(file.read_text())
    for seen in text["hosts"].values():
        seen["at"] = (datetime.now(UTC) - timedelta(hours=3, minutes=5)).isoformat()
    file.write_text(json.dumps(text))
    for _ in range(2):  # what a run could not look at is said in each
        down = fleet(project, "lint", "prod.py", "--no-app")
        assert down.returncode == 0, down.stderr
        assert "warning web1: facts of web1 are 3 hours old: it did not answer (ssh: connect to host 127.0.0.1" in down.stdout
        assert "no facts of web2 are kept" in down.stdout
        assert "note broker: not asked what waits in it: b did not answer" in down.stdout
    assert fleet(project, "lint", "prod.py", "--no-app", "--strict").returncode == 1
    report = json.loads(fleet(project, "lint", "prod.py", "--no-app", "--json").stdout)
    assert report["machines"] == machines
    # Without them there is nothing to go on from.
    file.write_text('{"version": 0}')
    gone = fleet(project, "lint", "prod.py", "--no-app")
    assert gone.returncode == 2
    assert "web1: ssh: connect to host 127.0.0.1" in gone.stderr
    assert "damaged, or of another version of celery-fleet" in gone.stderr
    assert "--assume cores=8,memory=16G,gpus=1" in gone.stderr
