"""Templates: the path below templates/ is the path on the machine. A template prints values and decides nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fleet.inventory.execute import errors_in

TEMPLATES = Path(__file__).parents[2] / "templates"


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - unit files and redis.conf, not HTML
    )


def render(template: str, **values: object) -> bytes:
    """The text of `template`, a path below templates/ with its .j2. Raises SpecError if it cannot be read or rendered."""
    with errors_in(TEMPLATES / template):
        return _environment().get_template(template).render(**values).encode()
