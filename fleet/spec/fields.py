"""What a setting is: a field of a strict model, with the reason for its default. `docs/settings.md` is made from these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticUndefined


class Model(BaseModel):
    """Base of all settings. An unknown name is an error: a misspelt setting that is ignored is noticed only in production."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class ShownType:
    """Annotation of a type whose validator accepts more than the Python type shows: the type as `docs/settings.md` shows it."""

    text: str


def setting(
    what: str, *, why: str, source: str, default: Any = PydanticUndefined, unit: str = "", shown: str = "", **constraints: Any
) -> Any:
    """A pydantic field with everything that `docs/settings.md` says about it.

    what: one sentence that says what the setting is; validation errors quote it. why: the reason for the default, or for the
    setting. source: where that reason comes from. unit: of the value. shown: the default in words, if the value alone does not
    say enough (None), or if it depends on other settings. constraints: passed to pydantic, e.g. ge=0.
    """
    extra: dict[str, Any] = {"why": why, "source": source, "unit": unit, "shown": shown}
    return Field(default, description=what, json_schema_extra=extra, **constraints)
