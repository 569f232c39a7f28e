"""Every command and every make target is documented."""

import re
from pathlib import Path

import pytest
import typer
import typer.main

from fleet.cli import setting_cells, settings_page
from fleet.cli.main import app
from fleet.spec.broker import Broker
from fleet.spec.fields import Model
from fleet.spec.settings import Settings
from fleet.spec.worker import Worker

ROOT = Path(__file__).parents[4]
UNITLESS = {"port", "cpu_weight"}


def commands(group: object, prefix: str = "fleet") -> list[str]:
    found: list[str] = []
    for name, command in getattr(group, "commands", {}).items():
        found += commands(command, f"{prefix} {name}") if hasattr(command, "commands") else [f"{prefix} {name}"]
    return found


def test_every_command_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    found = commands(typer.main.get_command(app))
    assert len(found) >= 7
    assert [name for name in found if f"`{name}" not in reference] == []


def test_every_command_has_an_example() -> None:
    def callbacks(application: typer.Typer) -> list[str]:
        own = [one.help or one.callback.__doc__ or "" for one in application.registered_commands if one.callback]
        return own + [
            doc for group in application.registered_groups if group.typer_instance for doc in callbacks(group.typer_instance)
        ]

    assert [doc for doc in callbacks(app) if "Example" not in doc and "fleet " not in doc] == []


def test_every_make_target_is_documented() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    documents = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    assert len(targets) >= 8
    assert [target for target in targets if f"make {target}" not in documents] == []


def test_the_page_of_settings_is_what_the_model_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page.document(), "stale: make docs"


@pytest.mark.parametrize("model", [Worker, Broker, Settings])
def test_every_setting_says_what_it_is_and_why(model: type[Model]) -> None:
    for name, field in model.model_fields.items():
        assert len(field.description or "") > 10, name
        assert len(setting_cells.notes(field)["why"]) > 10 or name == "port", name
        assert setting_cells.notes(field)["source"], name
        numbers = setting_cells.type_name(field).startswith(("number", "size"))
        assert not numbers or setting_cells.unit(field) != "-" or name in UNITLESS, name
