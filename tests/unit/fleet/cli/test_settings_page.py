"""docs/settings.md has every setting, and each says what it is and why."""

from pathlib import Path

import pytest

from fleet.cli import setting_cells, settings_page
from fleet.spec.broker import External, Redis
from fleet.spec.fields import Model
from fleet.spec.settings import Settings
from fleet.spec.worker import Worker

ROOT = Path(__file__).parents[4]
UNITLESS = {"port", "tls_port", "cpu_weight"}


def test_the_page_of_settings_is_what_the_model_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page.document(), "stale: make docs"


@pytest.mark.parametrize("model", [Worker, Redis, External, Settings])
def test_every_setting_says_what_it_is_and_why(model: type[Model]) -> None:
    for name, field in model.model_fields.items():
        assert len(field.description or "") > 10, name
        assert len(setting_cells.notes(field)["why"]) > 10 or name == "port", name
        assert setting_cells.notes(field)["source"], name
        numbers = setting_cells.type_name(field).startswith(("number", "size"))
        assert not numbers or setting_cells.unit(field) != "-" or name in UNITLESS, name
