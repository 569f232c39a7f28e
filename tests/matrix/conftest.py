"""Each test of the matrix runs in each cell; a table says which promises hold. A promise is a module of tests."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.matrix.sets import CELLS, POOLS, SETS, Cell, python_of
from tests.matrix.support import Broker, end_tree, settings
from tests.matrix.table import FAILED, OK, table
from tests.unit.process_support import Machine
from tests.unit.rabbitmq_support import rabbitmq, vhost
from tests.unit.shop_support import free_port

__all__ = ["rabbitmq", "vhost"]

PROMISES = tuple(sorted(path.stem.removeprefix("test_").replace("_", " ") for path in Path(__file__).parent.glob("test_*.py")))
OUTCOMES = pytest.StashKey[dict[tuple[str, str], str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--versions", default=",".join(SETS), help="sets of versions, joined by commas")
    parser.addoption("--pools", default=",".join(POOLS), help="pools, joined by commas")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    versions = metafunc.config.getoption("--versions").split(",")
    pools = metafunc.config.getoption("--pools").split(",")
    if "cell" in metafunc.fixturenames:
        cells = [cell for cell in CELLS if cell.versions in versions and cell.pool in pools]
        metafunc.parametrize("cell", cells, ids=[cell.name for cell in cells])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A Redis with a file."""
    broker = Broker(free_port(), tmp_path)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def here(cell: Cell, broker: Broker, tmp_path: Path) -> Iterator[Machine]:
    """A machine of the cell's versions and pool, without a worker yet."""
    here = Machine(tmp_path, broker.port, cell.pool, python=str(python_of(cell.versions)))
    here.more = {"FLEET_CELERY": json.dumps(settings()), "FLEET_LOG": "text"}
    here.announce("r")
    try:
        yield here
    finally:
        for worker in here.running.values():
            end_tree(worker)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OUTCOMES] = {}
    config.pluginmanager.register(Outcomes(config.stash[OUTCOMES]))


class Outcomes:
    """Collects how the tests of each cell and promise end."""

    def __init__(self, outcomes: dict[tuple[str, str], str]) -> None:
        self._outcomes = outcomes

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        where = re.search(r"/test_(\w+)\.py::.*\[([\w.]+-\w+)", report.nodeid)
        if where and (report.failed or (report.passed and report.when == "call")):
            key = where[2], where[1].replace("_", " ")
            failed = report.failed or self._outcomes.get(key) == FAILED
            self._outcomes[key] = FAILED if failed else OK


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    terminalreporter.section("matrix")
    outcomes = config.stash[OUTCOMES]
    for line in table(PROMISES, outcomes):
        terminalreporter.write_line(line)
