"""`fleet drill`: the earlier name of rollout, the question before a drill, and a fault's help."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fleet.cli import drill
from fleet.cli.main import app
from fleet.spec.fleet import Inventory


def test_the_earlier_name_works_and_says_the_new_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["drill", "roll", str(tmp_path / "nowhere.py"), "--phases", "restart"])
    assert done.output == "fleet drill roll: the command's name is fleet drill rollout now\n"
    assert str(done.exception) == f"{tmp_path / 'nowhere.py'}: no such inventory file"


def test_the_earlier_name_is_hidden() -> None:
    listed = CliRunner().invoke(app, ["drill", "--help"]).output
    assert "  rollout " in listed
    assert "  roll " not in listed


def test_a_drill_on_other_machines_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[str] = []
    monkeypatch.setattr(typer, "confirm", lambda question, **_: questions.append(question))
    remote = Inventory({"web1": {"ssh_hostname": "10.0.0.1"}}, {}, frozenset())
    drill._confirm(Path("prod.py"), remote, True, "restart Redis")
    drill._confirm(Path("lab.py"), Inventory({"web1": {"ssh_hostname": "127.0.0.1"}}, {}, frozenset()), False, "restart Redis")
    assert questions == []
    drill._confirm(Path("prod.py"), remote, False, "restart Redis")
    assert questions == ["prod.py is no lab of this machine. The drill will restart Redis. Go on?"]


def test_the_help_of_a_fault_says_how_long_its_workers_may_take() -> None:
    limits = {"kill-child": "15 s of the", "kill-worker": "45 s of the", "reboot": "the lease and 15 s of the"}
    for name, limit in limits.items():
        text = " ".join(CliRunner().invoke(app, ["drill", name, "--help"]).output.split())
        assert f"not back within {limit}" in text
