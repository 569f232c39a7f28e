"""Rules about connections."""

import pytest

from fleet.lint import connections
from tests.unit.fleet.lint.rules_support import APP, Case, assert_finds, plan, rules_of

pytestmark = pytest.mark.usefixtures("app_folder")

CASES = {
    "connections-broker": Case(
        lambda: plan(broker={"maxclients": 500}),
        APP,
        "broker.maxclients: 500, and the fleet may open ",
    ),
    "connections-files": Case(
        lambda: plan(web={"concurrency": 40000, "instances": 1}, broker={"maxclients": 200000}),
        APP,
        "web_worker.concurrency: 40000 tasks at once may open ",
    ),
    "connections-database": Case(
        lambda: plan(web={"database_connections": 20}, batch={"database_connections": 5}, database_max_connections=100),
        APP,
        "database_max_connections: 100, and the fleet may open 200 (web 160 + batch 40)",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(connections)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])
