"""Every command, option and make target is documented."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from fleet.cli.main import app

ROOT = Path(__file__).parents[4]


def commands(group: Any, path: str = "fleet") -> Iterator[tuple[str, Any]]:
    """(path, command) of every command that help shows, e.g. ("fleet lab up", …)."""
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        elif not command.hidden:
            yield f"{path} {name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_there_are_commands() -> None:
    assert {"fleet lint", "fleet history", "fleet drill rollout", "fleet drill oom", "fleet lab up"} <= set(COMMANDS)
    assert "fleet drill roll" not in COMMANDS


def test_every_command_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    assert [path for path in COMMANDS if f"`{path}" not in reference] == []


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_of_a_command(path: str) -> None:
    text = re.sub(r"\s+", " ", COMMANDS[path].help or "")
    first = text.split()[0]
    assert first[0].isupper() and not first.endswith("s"), f"{first}: begin with an imperative"
    assert "Exit code: " in text
    assert f"Example: {path} " in text + " "


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_and_argument_has_help(path: str) -> None:
    assert [parameter.name for parameter in COMMANDS[path].params if not getattr(parameter, "help", None)] == []


def test_every_make_target_is_documented() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    documents = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    assert len(targets) >= 8
    assert [target for target in targets if f"make {target}" not in documents] == []
