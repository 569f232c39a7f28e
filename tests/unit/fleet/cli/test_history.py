"""`fleet history`: what it says of the last run, and of the last that failed."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fleet.cli.main import app
from fleet.rollout import lock
from tests.unit.fleet_support import PINS

DONE: dict[str, Any] = {
    "who": "ops@control",
    "pid": 7,
    "at": "2026-11-20T09:00:00Z",
    "what": "deploy.py",
    "outcome": "done",
    "seconds": 9.0,
}
FAILED = {**DONE, "at": "2026-11-21T09:00:00Z", "outcome": "failed"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "requirements.txt").write_text(PINS)
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text("celery_app = 'app'\napp_source = 'app'\nsecrets_file = 's.env'\n")
    (tmp_path / "group_data" / "web.py").write_text("web_worker = {'queues': ['default'], 'concurrency': 1}\n")
    (tmp_path / "prod.py").write_text("broker = [('127.0.0.1', {'lan_address': '10.0.0.10', 'ssh_port': 9})]\nweb = ['web1']\n")
    monkeypatch.chdir(tmp_path)


def history(monkeypatch: pytest.MonkeyPatch, entries: list[dict[str, Any]], *words: str) -> Result:
    monkeypatch.setattr(lock, "read_history", lambda *_: entries)
    monkeypatch.setattr(lock, "read_lock", lambda *_: "")
    return CliRunner().invoke(app, ["history", "prod.py", *words])


def test_every_run_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert history(monkeypatch, [DONE, FAILED]).output.splitlines() == [
        "2026-11-20T09:00:00Z  done         deploy.py by ops@control, 9.0 s",
        "2026-11-21T09:00:00Z  failed       deploy.py by ops@control, 9.0 s",
    ]
    assert [json.loads(line) for line in history(monkeypatch, [DONE, FAILED], "--json").output.splitlines()] == [DONE, FAILED]


def test_the_last_run_and_why_one_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert history(monkeypatch, [FAILED, DONE], "--last").output.startswith(
        "2026-11-20T09:00:00Z  deploy.py by ops@control: done"
    )
    why = history(monkeypatch, [FAILED, DONE], "--why")
    assert why.output.startswith("2026-11-21T09:00:00Z  deploy.py by ops@control: failed after 9 s\n")
    assert "its steps were not recorded: an earlier version" in why.output
    assert json.loads(history(monkeypatch, [FAILED, DONE], "--why", "--json").output) == FAILED


@pytest.mark.parametrize(
    ("entries", "words", "output"),
    [
        ([], [], "no run has changed anything yet\n"),
        ([], ["--last"], "no run has changed anything yet\n"),
        ([DONE], ["--why"], "no run has failed\n"),
        ([DONE], ["--why", "--json"], "null\n"),
        ([], ["--json"], ""),
    ],
)
def test_nothing_to_tell(monkeypatch: pytest.MonkeyPatch, entries: list[dict[str, Any]], words: list[str], output: str) -> None:
    done = history(monkeypatch, entries, *words)
    assert (done.exit_code, done.output) == (0, output)


def test_one_question_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    done = history(monkeypatch, [DONE], "--last", "--why")
    assert str(done.exception) == "write --last or --why, not both"
