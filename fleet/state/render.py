"""Templates: the path below templates/ is the path on the machine. A template prints values and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fleet.inventory.execute import errors_in

TEMPLATES = Path(__file__).parents[2] / "templates"


@cache
def _environment(opening: str, closing: str) -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        variable_start_string=opening,
        variable_end_string=closing,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - unit files and redis.conf, not HTML
    )


def render(template: str, **values: object) -> bytes:
    """The text of `template`, a path below templates/ with its .j2. Raises SpecError if it cannot be read or rendered."""
    return _render("{{", "}}", template, values)


def render_go(template: str, **values: object) -> bytes:
    """The text of a template of a file that has templates itself, as Prometheus' rules have. Values are between << and >>."""
    return _render("<<", ">>", template, values)


def _render(opening: str, closing: str, template: str, values: Mapping[str, object]) -> bytes:
    with errors_in(TEMPLATES / template):
        return _environment(opening, closing).get_template(template).render(**values).encode()
