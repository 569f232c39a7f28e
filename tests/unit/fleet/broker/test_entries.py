"""What others may have written where the fleet writes: it is left out, and hides nothing."""

import json
from typing import Any

import pytest

from fleet.broker import entries
from fleet.broker.redis import latest

GOOD: dict[str, Any] = {
    "node": "web-worker-1@web1", "at": 100.5, "started_at": 50, "release": "r", "revision": "v", "pool": "solo", "slots": 1,
    "queues": ["default"], "running": {"pay": 1}, "begun": {"pay": [99]}, "reserved": 0, "eta": 0, "held": {"default": [1, 0, 0]},
    "draining": False, "unavailable": "", "overdue": 0, "memory": None, "memory_max": 5, "oom_kills": 0,
    "tasks": [{"task": "pay", "queue": "default", "started": 3, "failed": {"KeyError": 1}, "runtime": [0.5, 1], "wait": []}],
}  # fmt: skip
WRONG: tuple[Any, ...] = (True, -1, "5", [[]], {"a": []}, float("nan"), float("inf"), 10**400, [None])


def test_signs() -> None:
    assert entries.sign(GOOD) is not None
    assert entries.sign({name: GOOD[name] for name in GOOD if name not in ("begun", "overdue", "memory", "oom_kills")})
    for value in (None, 5, "x", [], {}, [GOOD], *({**GOOD, "tasks": [wrong]} for wrong in WRONG)):
        assert entries.sign(value) is None
    of_task = [{**GOOD, "tasks": [{**GOOD["tasks"][0], name: wrong}]} for name in GOOD["tasks"][0] for wrong in WRONG]
    for value in (*({**GOOD, name: wrong} for name in GOOD for wrong in WRONG), *of_task):
        taken = entries.sign(value)
        assert taken is None or _can_be_used(taken)
    texts = ["not JSON", "[" * 100_000, "5", json.dumps({"node": "x", "at": 1}), json.dumps(GOOD)]
    assert list(latest(texts, 101)) == ["web-worker-1@web1"]


def _can_be_used(sign: Any) -> bool:
    sum(sum(numbers[:3]) for numbers in sign["held"].values())
    sum(entry.get("started", 0) + sum(entry.get("failed", {}).values()) + sum(entry["runtime"]) for entry in sign["tasks"])
    return sum(sign["running"].values()) + sign["slots"] + sign["at"] < 1e16 and isinstance(sign["unavailable"], str)


@pytest.mark.parametrize(
    "text", ["", "not JSON", "[]", "{}", "null", '{"at":1}', '{"at":1,"length":"x","earliest":1,"latest":1}']
)
def test_ages_of_another_form(text: str) -> None:
    assert entries.list_age(text) is None


def test_lists_of_another_form() -> None:
    texts = ["", "5", "[1]", '["a",5]', "{}", '["\\ud800","\\ud800"]', '["a","b","c"]', '["default","default"]']
    assert list(entries.consumed(texts)) == [("default", "default")]
