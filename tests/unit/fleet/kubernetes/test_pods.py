"""What a pod's status is in systemd's words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleet.kubernetes.pods import access, machine
from fleet.observe.machine import Unit

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
RUNNING = {"running": {"startedAt": "2026-12-01T11:59:00Z"}}
OVER = {"terminated": {"reason": "Error", "exitCode": 1}}


def unit(state: dict[str, Any], memory: Any = "1Gi", ending: bool = False, **more: Any) -> Unit:
    """Of a pod whose container is in a state."""
    metadata = {"name": "celery-web-1", **({"deletionTimestamp": "2026-12-01T11:59:30Z"} if ending else {})}
    container = {"name": "worker", "resources": {"limits": {"memory": memory} if memory is not None else {}}}
    status = {"containerStatuses": [{"name": "worker", "state": state, **more}]} if state else {}
    pod = {"metadata": metadata, "spec": {"containers": [container]}, "status": status}
    (unit,) = machine(pod, "web", NOW, access(Path("config"), "shop")).units.values()
    return unit


@pytest.mark.parametrize("state", [RUNNING, OVER, {}, {"waiting": {"reason": "ImagePullBackOff"}}], ids=str)
def test_a_pod_that_goes_is_not_dead(state: dict[str, Any]) -> None:
    assert unit(state, ending=True).active == "deactivating"
    assert unit(state).active != "deactivating"


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ErrImageNeverPull", "ImageInspectError", "SignatureValidationFailed", "RunContainerError"]
)
def test_a_pod_that_does_not_come_up_says_why(reason: str) -> None:
    starting = unit({"waiting": {"reason": reason, "message": "no such thing"}})
    assert (starting.active, starting.result) == ("failed", f"{reason}: no such thing")
    assert unit({"waiting": {"reason": "ContainerCreating"}}).active == "activating"


@pytest.mark.parametrize(("limit", "size"), [("1Gi", 1 << 30), ("2e9", 2_000_000_000), ("1P", 10**15), (None, None), ("?", None)])
def test_a_limit_of_memory(limit: Any, size: int | None) -> None:
    assert unit(RUNNING, limit).memory_max == size
