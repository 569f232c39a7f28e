"""`fleet lint` says for the app's own versions which promises hold: with those of the matrix, all of them."""

from pathlib import Path

import pytest

from fleet.lint.app import App, load
from tests.matrix.sets import Cell, pins, python_of
from tests.unit.fleet.lint.rules_support import findings_of, plan
from tests.unit.fleet_support import make_app


@pytest.fixture
def app(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """An app that is loaded with the versions of the cell."""
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.py").write_text("from celery import Celery\napp = Celery('jobs')\n")
    return load("jobs", tmp_path, python_of(cell.versions), {})


def test_an_app_of_these_versions_has_every_promise(cell: Cell, app: App) -> None:
    fleet = plan(web={"pool": cell.pool})
    assert f"celery {app.celery}, kombu {app.kombu}," in pins(cell.versions)
    assert app.may_have_lease
    for rule in ("unmended-defect", "untried-version"):
        assert findings_of(rule, fleet, app) == []
    mended = "\n".join(map(str, findings_of("known-defect", fleet, app)))
    assert "what a dead worker held waits for the visibility timeout; mended" in mended
    assert ("celery#10242" in mended) == (cell.versions == "5.7")
    assert ("a prefork worker forgets what it runs" in mended) == (cell.versions in ("5.3", "5.4", "5.5"))
