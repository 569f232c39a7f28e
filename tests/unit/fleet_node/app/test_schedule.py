"""What an app says of its schedule."""

from typing import Any

import pytest
from celery import Celery

from fleet_node.app.describe import describe


def described(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Any:
    """An app with a schedule, described with these variables."""
    for name in ("CELERY_BROKER_URL", "FLEET_BEAT_SCHEDULER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    app = Celery("jobs", set_as_current=False)

    @app.task(name="jobs.known", shared=False)  # type: ignore[untyped-decorator]
    def known() -> None:
        pass

    app.conf.task_routes = {"jobs.known": {"queue": "routed"}}
    app.conf.beat_schedule = {
        "known": {"task": "jobs.known", "schedule": 60},
        "elsewhere": {"task": "jobs.known", "schedule": 60, "options": {"queue": "named"}},
        "gone": {"task": "jobs.gone", "schedule": 60},
    }
    app.finalize()
    return describe(app, "jobs")


def test_its_entries_their_tasks_and_where_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {entry["name"]: (entry["known"], entry["queues"]) for entry in described(monkeypatch)["entries"]}
    assert found == {"known": (True, ["routed"]), "elsewhere": (True, ["named"]), "gone": (False, ["celery"])}


@pytest.mark.parametrize(
    ("variables", "is_celerys", "error", "has_lock"),
    [
        ({}, True, "", None),
        ({"CELERY_BROKER_URL": "redis://a"}, True, "", True),
        ({"CELERY_BROKER_URL": "amqp://a"}, True, "", False),
        ({"FLEET_BEAT_SCHEDULER": "celery.beat:Scheduler"}, True, "", None),
        ({"FLEET_BEAT_SCHEDULER": "nowhere.Scheduler"}, False, "ModuleNotFoundError: No module named 'nowhere'", None),
    ],
)
def test_its_scheduler(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_celerys: bool, error: str, has_lock: bool | None
) -> None:
    scheduler = described(monkeypatch, **variables)["scheduler"]
    assert (scheduler["is_celerys"], scheduler["error"], scheduler.get("has_lock")) == (is_celerys, error, has_lock)
