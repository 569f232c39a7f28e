from pathlib import Path

import pytest

from tests.unit.fleet_support import make_app


@pytest.fixture
def app_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has the app that the fleet's app_source names."""
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
