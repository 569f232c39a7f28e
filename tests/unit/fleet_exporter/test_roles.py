"""What a role has to do, by which its pods scale."""

from __future__ import annotations

from typing import Any, cast

import pytest

from fleet_exporter.settings import ExpectedQueue, Settings
from fleet_exporter.state import Worker, roles_of
from fleet_node.protocol import WorkerSign

SETTINGS = Settings(queues={"default": ExpectedQueue(1, 1, roles=("web",))})


def worker(**sign: Any) -> Worker:
    held = {"running": {}, "reserved": 0, "eta": 0, "slots": 4, "draining": False, **sign}
    return Worker("web-worker-1@a", "web", "a", False, is_up=True, heard=1.0, sign=cast(WorkerSign, held))


@pytest.mark.parametrize(
    ("sign", "tasks"),
    [
        ({}, 0),
        ({"running": {"mail": 2}, "reserved": 3}, 5),
        ({"eta": 40}, 1),  # or it would be none, its pod would go, and the next would take them again
        ({"running": {"mail": 2}, "eta": 40}, 2),
        ({"eta": 40, "draining": True}, 0),
    ],
)
def test_tasks_that_wait_for_their_eta_need_somebody_who_holds_them(sign: dict[str, Any], tasks: int) -> None:
    (role,) = roles_of(SETTINGS, [worker(**sign)], [])
    assert role.tasks == tasks
