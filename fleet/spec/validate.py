"""Plain values → a model, or a line for each mistake: its path, what was found and what to write."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeGuard, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from fleet.spec.fields import Model
from fleet.spec.mistakes import unknown_setting

M = TypeVar("M", bound=Model)

_WHAT_TO_WRITE = {
    "list_type": 'a list such as ["default"]',
    "dict_type": 'a dict such as {"NAME": "value"}',
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "True or False",
    "bool_parsing": "True or False",
}
"""pydantic's error type → what to write instead."""


def validate(model: type[M], data: Any, path: str, mistakes: list[str]) -> M | None:
    """Validate `data`, the settings at `path` in group data. On errors, append a line for each to `mistakes` and return None."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        unknown = [str(detail["loc"][-1]) for detail in details if detail["type"] == "extra_forbidden"]
        for detail in details:
            # A misspelt name of a required setting is one mistake: the line for the unknown name is enough.
            if detail["type"] != "missing" or not get_close_matches(str(detail["loc"][-1]), unknown, n=1):
                mistakes.append(_explain(model, path, detail["type"], detail["loc"], detail["msg"], detail["input"]))
        return None


def _explain(model: type[Model], path: str, kind: str, loc: tuple[int | str, ...], message: str, value: Any) -> str:
    full_path = ".".join(str(part) for part in ([path] if path else []) + list(loc))
    model, field = _field(model, loc)
    about = f" ({field.description})" if field and field.description else ""
    if kind == "extra_forbidden":
        return unknown_setting(full_path, str(loc[-1]), model.model_fields)
    if kind == "missing":
        return f"{full_path}: missing{about}"
    if kind == "too_short":
        return f"{full_path}: found none, write at least one{about}"
    if not loc:
        return f"{full_path}: write a dict of settings, found {_shortened(value)}"
    if kind in _WHAT_TO_WRITE:
        return f"{full_path}: write {_WHAT_TO_WRITE[kind]}, found {_shortened(value)}{about}"
    if kind == "string_pattern_mismatch":
        message = "write one line of text" if "x00" in message else "write letters, digits and any of _ . : - alone"
    return f"{full_path}: {message.removeprefix('Value error, ')}, found {_shortened(value)}{about}"


def _field(model: type[Model], loc: Iterable[int | str]) -> tuple[type[Model], FieldInfo | None]:
    """The field that a path leads to, and its model. A setting may be a dict of settings, so the model may be a nested one."""
    field = None
    for part in map(str, loc):
        if field:
            model = next(filter(_is_model, get_args(field.annotation) or (field.annotation,)), model)
        if part not in model.model_fields:
            break
        field = model.model_fields[part]
    return model, field


def _is_model(annotation: Any) -> TypeGuard[type[Model]]:
    return isinstance(annotation, type) and issubclass(annotation, Model)


def _shortened(value: Any) -> str:
    text = re.sub(r"://[^@/]*@", "://…@", repr(value))  # a URL with a password, where none belongs
    return text if len(text) <= 100 else text[:97] + "..."
