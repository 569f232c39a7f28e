"""The output of the lab commands: a mistake is one line and an exit status."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from lab import state, tools
from lab.cli import app
from lab.console import last_lines
from lab.state import Host, Lab


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.delenv("FLEET_LAB", raising=False)


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.output


def lab(directory: Path) -> Lab:
    directory.mkdir(parents=True)
    host = Host(ssh_hostname="127.0.0.1", ssh_port=1, lan_address="10.77.0.11", memory_mb=1024, console="c")
    return Lab(
        name="lab",
        user="debian",
        key=str(directory / "id_ed25519"),
        known_hosts=str(directory / "known_hosts"),
        multicast="230.77.0.1:1",
        image="none",
        hosts={"web1": host},
    )


def test_every_command_has_help_with_an_example() -> None:
    group = typer.main.get_command(app)
    for name in group.commands:  # type: ignore[attr-defined]
        code, output = run(name, "--help")
        assert code == 0
        assert "Example: fleet lab" in output
        assert "Exit code: " in output


@pytest.mark.parametrize("command", [["status"], ["reset"], ["ssh", "web1"]])
def test_without_a_lab_commands_say_how_to_start_one(command: list[str]) -> None:
    code, output = run(*command)
    assert code == 1
    assert "start it with `fleet lab up`" in output


def test_down_without_a_lab_is_fine() -> None:
    assert run("down") == (0, "lab 'lab': nothing to end\n")


def test_down_removes_a_lab_without_processes_and_nothing_else(tmp_path: Path) -> None:
    state.write(lab(tmp_path / ".lab" / "lab"))
    (tmp_path / ".lab" / "other").mkdir()
    assert run("down")[0] == 0
    assert [p.name for p in (tmp_path / ".lab").iterdir()] == ["other"]


def test_a_bad_host_is_an_error_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "check", lambda _: None)
    code, output = run("up", "--hosts", "web")
    assert code == 1
    assert output.strip().splitlines()[-1].startswith("error: host 'web'")
    assert not (tmp_path / ".lab").exists()


def test_unknown_host_names_the_known_ones(tmp_path: Path) -> None:
    state.write(lab(tmp_path / ".lab" / "lab"))
    assert run("ssh", "web9") == (1, "error: lab 'lab' has no host 'web9'; it has web1\n")


def test_status_of_a_dead_machine(tmp_path: Path) -> None:
    state.write(lab(tmp_path / ".lab" / "lab"))
    code, output = run("status", "--json")
    assert code == 1
    (host,) = json.loads(output)["hosts"]
    assert (host["host"], host["state"], host["pid"]) == ("web1", "down", None)


def test_the_name_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_LAB", "other")
    assert "'other'" in run("status")[1]


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / ".lab" / "lab").mkdir(parents=True)
    (tmp_path / ".lab" / "lab" / "lab.json").write_text("{")
    code, output = run("status")
    assert code == 1
    assert "lab.json is not a lab's record" in output
    assert run("down")[0] == 0


def test_all_missing_tools_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    code, output = run("up")
    assert code == 1
    assert "qemu-system-x86_64, qemu-img, ssh, ssh-keygen" in output
    assert "apt-get install openssh-client qemu-system-x86 qemu-utils" in output


def test_last_lines_of_a_console_are_readable(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"one\r\n[\x1b[0;32m  OK  \x1b[0m] Started ssh\r\n\r\n")
    assert last_lines(log, 1) == "  [  OK  ] Started ssh"
    assert last_lines(tmp_path / "none") == ""
