"""A gate goes on if the broker restarts while it asks."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import ConnectionForced

from fleet_node.gate import __main__ as gate


@pytest.mark.parametrize("failure", [ConnectionForced("broker forced connection closure"), ConnectionResetError()])
def test_a_broker_that_restarts_is_asked_again(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    failures = [failure]

    def judge(*_: Any) -> dict[str, Any]:
        if failures:
            raise failures.pop()
        return {"problems": {}, "notes": []}

    monkeypatch.setattr(gate, "connect", lambda *_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(gate, "judge", judge)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    question: Any = {"control": None}
    opening: Any = {"app": "", "settle": 0, "patience": 0, "first_task": 0}
    assert gate._judged(question, opening, {}) == {"problems": {}, "notes": []}
