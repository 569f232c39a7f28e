"""A fleet of one machine, which several commands look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.fleet.cli.native_support import Project, project


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Project]:
    """Its worker consumes `default` and `quiet`."""
    (tmp_path / "here").mkdir()
    with project(tmp_path) as made:
        made.here.start(made.here.release("r"), queues=("default", "quiet"))
        yield made
