"""The cells that describe one setting in `docs/settings.md`."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from fleet.spec.fields import Model, ShownType


def notes(field: FieldInfo) -> dict[str, Any]:
    """What `fleet.spec.fields.setting` stores beside pydantic's own: why, source, unit and shown."""
    stored = field.json_schema_extra
    return dict(stored) if isinstance(stored, dict) else {}


def unit(field: FieldInfo) -> str:
    """The unit of a setting's value, or a dash."""
    return str(notes(field)["unit"] or "-")


def default(field: FieldInfo) -> str:
    """The default as you write it in group data; in words if it depends on other settings."""
    if field.is_required():
        return "required"
    return str(notes(field)["shown"] or f"`{written(field.get_default())}`")


def written(value: Any) -> str:
    """A value as you write it in group data."""
    return f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"')


def type_name(field: FieldInfo) -> str:
    """A setting's type in a user's words, e.g. "number", "list of text", "size"."""
    for item in field.metadata:
        if isinstance(item, ShownType):
            return item.text
    return _name(field.annotation)


def _name(annotation: Any) -> str:
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        shown = [item.text for item in annotation.__metadata__ if isinstance(item, ShownType)]
        return shown[0] if shown else _name(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_name(argument) for argument in arguments if argument is not NoneType))
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is list:
        return f"list of {_name(arguments[0])}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, Model)):
        return "dict"
    return {int: "number", float: "number", str: "text", bool: "True or False"}[annotation]
