"""The commented lines of the example's group data show the defaults of the models."""

import ast
from pathlib import Path
from typing import Any

import pytest

from fleet.spec.beat import Beat
from fleet.spec.broker import Redis
from fleet.spec.fields import Model
from fleet.spec.monitor import Monitor
from fleet.spec.nvidia import Nvidia
from fleet.spec.settings import Settings

GROUP_DATA = Path(__file__).parents[2] / "group_data"


def commented(file: str) -> dict[str, Any]:
    """Name → value of the lines that are commented out."""
    values = {}
    for line in (GROUP_DATA / file).read_text().splitlines():
        text = line.strip().removeprefix("# ").rstrip(",")
        for pattern in (" = ", ": "):
            name, separator, value = text.partition(pattern)
            if line.strip().startswith("# ") and separator and name.strip('"').isidentifier():
                try:
                    values[name.strip('"')] = ast.literal_eval(value)
                except (SyntaxError, ValueError):
                    continue  # a sentence
    return values


@pytest.mark.parametrize(
    ("file", "model"),
    [("all.py", Settings), ("broker.py", Redis), ("gpu.py", Nvidia), ("monitor.py", Monitor), ("beat.py", Beat)],
)
def test_commented_lines_show_the_defaults(file: str, model: type[Model]) -> None:
    shown = commented(file)
    shown.pop("gpus", None)  # an example
    optional = {name for name, field in model.model_fields.items() if not field.is_required()}
    assert set(shown) == optional - {"lan_address", "gpus", "nvidia"}  # a host's own, or gpu.py's
    for name, value in shown.items():
        default = model.model_fields[name].get_default()
        assert default == (type(default)() if value == {} and isinstance(default, Model) else value), name
