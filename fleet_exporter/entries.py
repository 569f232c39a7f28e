"""What the fleet writes down in Redis, as the exporter takes it. Pure.

Anyone who has the broker's password can write there, and workers of another release write something else. What is none of ours is
left out, a field that is missing has its zero, and names are made fit for a label: one entry never hides the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from fleet_node.protocol import COUNTS, ListAge, TaskCounts, WorkerSign

LONGEST = 200
"""Characters of a name in a label. It is repeated in some 50 series."""
LARGEST = 1e18
"""The largest number that is believed. Prometheus adds them up."""
HELD = 3
"""Numbers of what a worker holds of a queue."""


def loaded(text: str | bytes) -> Any:
    """The value of a JSON text; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def label(text: Any) -> str:
    """A name as a label has it: UTF-8, and not too long to be repeated. Different names stay different."""
    plain = text.encode("utf-8", "backslashreplace").decode() if isinstance(text, str) else ""
    if len(plain) <= LONGEST:
        return plain
    return f"{plain[: LONGEST - 9]}…{sha256(plain.encode()).hexdigest()[:8]}"


def number(value: Any, otherwise: float = 0) -> float:
    """A number that is not negative, and finite; `otherwise` if it is something else."""
    if not isinstance(value, int | float) or not 0 <= value <= LARGEST:
        return otherwise
    return value


def whole(value: Any) -> int:
    """The same of what is counted."""
    return int(number(value))


def mapping(value: Any, of: Callable[[Any], Any] = whole) -> dict[str, Any]:
    """A mapping by name. of: makes a value."""
    return {label(key): of(entry) for key, entry in value.items()} if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """A list; an empty one if it is something else."""
    return value if isinstance(value, list) else []


def sign_of(value: Any) -> WorkerSign | None:
    """A worker's sign; None if it does not say whose it is, and when it was made."""
    if not (isinstance(value, dict) and isinstance(value.get("node"), str) and value["node"] and number(value.get("at"))):
        return None
    sign: Any = {
        "node": label(value["node"]),
        "at": number(value["at"]),
        "started_at": number(value.get("started_at")) or number(value["at"]),
        **{field: label(value.get(field)) for field in ("release", "revision", "pool", "unavailable")},
        **{field: whole(value.get(field)) for field in ("slots", "reserved", "eta", "oom_kills")},
        "queues": [label(queue) for queue in listed(value.get("queues")) if isinstance(queue, str)],
        "running": mapping(value.get("running")),
        "begun": {task: times for task, times in mapping(value.get("begun"), _numbers).items() if times},
        "held": mapping(value.get("held"), lambda entry: (_numbers(entry) + [0] * HELD)[:HELD]),
        "draining": value.get("draining") is True,
        "tasks": [entry for task in listed(value.get("tasks")) if (entry := counts_of(task))],
    }
    # Not every release says it, and not every machine knows.
    sign |= {field: whole(value[field]) for field in ("overdue", "memory", "memory_max") if _is_number(value.get(field))}
    if isinstance(lent := value.get("lent"), dict):
        queues = [label(queue) for queue in listed(lent.get("queues")) if isinstance(queue, str)]
        sign["lent"] = {"queues": queues, "slots": whole(lent.get("slots")), "until": number(lent.get("until"))}
    return sign  # type: ignore[no-any-return]


def counts_of(value: Any) -> TaskCounts | None:
    """What a worker has counted of one task; None if it does not say of which."""
    if not (isinstance(value, dict) and isinstance(value.get("task"), str) and isinstance(value.get("queue"), str)):
        return None
    counts: Any = {"task": label(value["task"]), "queue": label(value["queue"])}
    counts |= {field: whole(value[field]) for field in COUNTS if field in value}
    counts |= {field: _numbers(value[field]) for field in ("runtime", "wait") if field in value}
    if "failed" in value:
        counts["failed"] = mapping(value["failed"])
    return counts  # type: ignore[no-any-return]


def age_of(value: Any) -> ListAge | None:
    """How long messages wait in a list; None if it does not say when that was so."""
    if not (isinstance(value, dict) and _is_number(value.get("at"))):
        return None
    entry: Any = {"at": number(value["at"]), "length": whole(value.get("length"))}
    # None says that nothing is due; what is missing, or no number, says nothing.
    for field, unknown in (("earliest", 0.0), ("latest", entry["at"])):
        entry[field] = None if value.get(field, 0) is None else number(value.get(field), unknown)
    return entry  # type: ignore[no-any-return]


def signs_of(signs: Mapping[str, str], left: list[str]) -> dict[str, WorkerSign]:
    """Holder → its sign. signs: of protocol.SIGNS. left: entries of protocol.LEFT."""
    valid = {holder: sign for holder, text in signs.items() if (sign := sign_of(loaded(text)))}
    for text in left:
        entry = loaded(text)
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and (sign := sign_of(entry[1])):
            valid[entry[0]] = sign
    return valid


def _is_number(value: Any) -> bool:
    return bool(number(value, math.nan) == value)


def _numbers(value: Any) -> list[float]:
    return [number(entry) for entry in listed(value)]
