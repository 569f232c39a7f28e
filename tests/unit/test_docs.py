"""Every command and every make target is documented."""

import re
from pathlib import Path

import typer
import typer.main

from fleet.cli import app
from fleet.model import Worker

ROOT = Path(__file__).parents[2]


def commands(group: object, prefix: str = "fleet") -> list[str]:
    found: list[str] = []
    for name, command in getattr(group, "commands", {}).items():
        found += commands(command, f"{prefix} {name}") if hasattr(command, "commands") else [f"{prefix} {name}"]
    return found


def test_every_command_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "operate.md").read_text()
    found = commands(typer.main.get_command(app))
    assert len(found) >= 7
    assert [name for name in found if f"`{name}" not in guide] == []


def test_every_command_has_an_example() -> None:
    def callbacks(application: typer.Typer) -> list[str]:
        own = [command.callback.__doc__ or "" for command in application.registered_commands if command.callback]
        return own + [
            doc for group in application.registered_groups if group.typer_instance for doc in callbacks(group.typer_instance)
        ]

    assert [doc for doc in callbacks(app) if "Example" not in doc and "fleet " not in doc] == []


def test_every_make_target_is_documented() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    documents = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    assert len(targets) >= 8
    assert [target for target in targets if f"make {target}" not in documents] == []


def test_every_setting_of_a_role_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "operate.md").read_text()
    missing = [
        name
        for name, field in Worker.model_fields.items()
        if f"| `{name}` |" not in guide or (field.description or "?") not in guide
    ]
    assert missing == []
