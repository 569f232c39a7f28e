"""What is wrong with the settings, for the user: a line a mistake, with its path, what was found and what to write."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeGuard, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from fleet.errors import FleetError
from fleet.spec.fields import Model
from fleet.spec.text import did_you_mean

M = TypeVar("M", bound=Model)


class SpecError(FleetError):
    """The settings are wrong. str() is what the user reads: one mistake a line."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = list(dict.fromkeys(mistakes))
        super().__init__("\n".join(self.mistakes))


def unknown_setting(where: str, name: str, known: Iterable[str]) -> str:
    return f"{where}: unknown setting; " + (did_you_mean(name, known) or f"known here: {', '.join(sorted(known))}")


def validate(model: type[M], data: Any, path: str, mistakes: list[str]) -> M | None:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        unknown = [str(detail["loc"][-1]) for detail in details if detail["type"] == "extra_forbidden"]
        for detail in details:
            # A required setting whose name is misspelt is one mistake, and the other line says it.
            if detail["type"] != "missing" or not get_close_matches(str(detail["loc"][-1]), unknown, n=1):
                mistakes.append(_explain(model, path, detail["type"], detail["loc"], detail["msg"], detail["input"]))
        return None


_WRITE = {
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


def _explain(model: type[Model], path: str, kind: str, loc: tuple[int | str, ...], message: str, found: Any) -> str:
    where = ".".join(str(part) for part in ([path] if path else []) + list(loc))
    model, field = _field(model, loc)
    about = f" ({field.description})" if field and field.description else ""
    if kind == "extra_forbidden":
        return unknown_setting(where, str(loc[-1]), model.model_fields)
    if kind == "missing":
        return f"{where}: missing{about}"
    if kind == "too_short":
        return f"{where}: found none, write at least one{about}"
    if not loc:
        return f"{where}: write a dict of settings, found {_short(found)}"
    if kind in _WRITE:
        return f"{where}: write {_WRITE[kind]}, found {_short(found)}{about}"
    if kind == "string_pattern_mismatch":
        message = "write one line of text" if "x00" in message else "write letters, digits and any of _ . : - alone"
    return f"{where}: {message.removeprefix('Value error, ')}, found {_short(found)}{about}"


def _field(model: type[Model], loc: Iterable[int | str]) -> tuple[type[Model], FieldInfo | None]:
    """The field that a path leads to, and the model that it is of: a setting may be a dict of settings."""
    field = None
    for part in map(str, loc):
        if field:
            model = next((one for one in (get_args(field.annotation) or (field.annotation,)) if _is_model(one)), model)
        if (found := model.model_fields.get(part)) is None:
            break
        field = found
    return model, field


def _is_model(one: Any) -> TypeGuard[type[Model]]:
    return isinstance(one, type) and issubclass(one, Model)


def _short(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= 100 else text[:97] + "..."
