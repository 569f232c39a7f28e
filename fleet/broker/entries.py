"""What the fleet writes down in Redis, checked as it is read: whoever has the broker's password can write there. Pure.

An entry that has another form is left out, and hides no other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from fleet_node.protocol import ListAge, WorkerSign

LARGEST = 1e15
"""The largest number that is believed."""


def loaded(text: str) -> Any:
    """The value of a JSON text; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def consumed(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(queue, list) of entries of protocol.CONSUMED."""
    for text in texts:
        entry = loaded(text)
        if isinstance(entry, list) and len(entry) == 2 and all(isinstance(name, str) and _is_key(name) for name in entry):
            yield entry[0], entry[1]


def list_age(text: str) -> ListAge | None:
    """An entry of protocol.AGES."""
    entry = loaded(text)
    if not (isinstance(entry, dict) and _is_number(entry.get("at")) and _is_number(entry.get("length"))):
        return None
    known = all(name in entry and (entry[name] is None or _is_number(entry[name])) for name in ("earliest", "latest"))
    return cast("ListAge", entry) if known else None


def sign(value: Any) -> WorkerSign | None:
    """What a worker says of itself: a value of protocol.SIGNS, or an answer to `fleet_sign`."""
    if not isinstance(value, dict) or not all(name in value and fits(value[name]) for name, fits in _SIGN.items()):
        return None
    if not all(value.get(name) is None or fits(value[name]) for name, fits in _MORE.items()):
        return None
    return cast("WorkerSign", value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value)


def _is_key(name: str) -> bool:
    """Whether Redis can be asked for it."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _list_of(fits: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(fits, value))


def _mapping_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _is_counts(value: Any) -> bool:
    """protocol.TaskCounts."""
    return isinstance(value, dict) and all(
        fits(value.get(name, otherwise))
        for fits, otherwise, names in (
            (_is_text, None, ("task", "queue")),
            (_is_count, 0, ("received", "started", "succeeded", "retried", "revoked", "rejected")),
            (_mapping_of(_is_count), {}, ("failed",)),
            (_list_of(_is_number), [], ("runtime", "wait")),
        )
        for name in names
    )


_SIGN: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("node", "release", "revision", "pool", "unavailable"), _is_text),
    **dict.fromkeys(("at", "started_at"), _is_number),
    **dict.fromkeys(("slots", "reserved", "eta"), _is_count),
    "queues": _list_of(_is_text),
    "running": _mapping_of(_is_count),
    "held": _mapping_of(_list_of(_is_count, 3)),
    "draining": lambda value: isinstance(value, bool),
    "tasks": _list_of(_is_counts),
}


def _is_lent(value: Any) -> bool:
    """Whether it says what a worker is lent out for."""
    fits = {"queues": _list_of(_is_text), "slots": _is_count, "until": _is_number}
    return isinstance(value, dict) and all(name in value and check(value[name]) for name, check in fits.items())


_MORE: dict[str, Callable[[Any], bool]] = {
    "begun": _mapping_of(_list_of(_is_number)),
    "lent": _is_lent,
    **dict.fromkeys(("overdue", "memory", "memory_max", "oom_kills"), _is_count),
}
