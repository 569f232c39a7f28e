"""Rules as a whole: a good fleet breaks none, findings are merged and silenced, and guesses are not judged."""

from dataclasses import replace
from pathlib import Path

import pytest

import fleet.lint
from fleet.lint import RULES, lint
from fleet.plan.plan import resolved
from tests.unit.fleet.lint.rules_support import APP, BATCH, WEB, Case, assert_finds, findings_of, plan, rules_of
from tests.unit.fleet_support import MACHINE, fleet_of, plan_of

pytestmark = pytest.mark.usefixtures("app_folder")

CASES = {
    "unknown-rule": Case(
        lambda: plan(lint_ignore={"single-consumr": "x"}),
        APP,
        "lint_ignore: no rule is called single-consumr; did you mean single-consumer?",
    ),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(fleet.lint)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])


def test_every_module_of_rules_has_a_test_file() -> None:
    modules = {rule.check.__module__.removeprefix("fleet.").rpartition(".")[2] for rule in RULES.values()}
    assert [name for name in modules if not Path(__file__).with_name(f"test_{name}.py").is_file()] == []


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_a_reason(rule: str) -> None:
    assert len(RULES[rule].about) > 40


def test_a_good_fleet_breaks_no_rule() -> None:
    assert lint(plan(), (APP,)) == ()


def test_rules_about_the_app_find_nothing_without_it() -> None:
    assert lint(plan()) == ()


def test_the_same_violation_on_many_hosts_is_one_finding() -> None:
    (finding,) = findings_of("memory-machine", plan(batch={"memory_max": "9G"}, hosts_a_role=5))
    assert finding.hosts == ("batch1", "batch2", "batch3", "batch4", "batch5")
    assert "(batch1, batch2, batch3 and 2 more)" in str(finding)


def test_a_rule_is_silenced_by_name_and_with_a_reason() -> None:
    silenced = plan(hosts_a_role=1, lint_ignore={"single-consumer": "one machine is all we have"})
    (finding,) = findings_of("single-consumer", silenced)
    assert (finding.silenced, finding.counts) == ("one machine is all we have", False)


def test_machines_that_nobody_asked_count_but_are_not_judged() -> None:
    fleet = fleet_of({"web": WEB, "batch": {**BATCH, "time_limit": 7200}})
    limited = resolved(fleet, {"web1": MACHINE})
    assert limited.visibility_timeout == plan_of(fleet).visibility_timeout == 7200 + 180 + 60
    assert limited.consumers == {"default": 8, "batch": 2}
    assert lint(limited, (APP,)) == ()
    small = resolved(fleet_of({"batch": {**BATCH, "memory_max": "9G"}}), {"batch1": MACHINE})
    (finding,) = [finding for finding in lint(small) if finding.rule == "memory-machine"]
    assert finding.hosts == ("batch1",)


def test_a_hosts_own_settings_are_checked() -> None:
    alike = plan().fleet
    host = alike.hosts["web2"]
    settings = host.settings.model_copy(
        update={"environment": {"REMAP_SIGTERM": "SIGQUIT", "BROKER_URL": "redis://u:pw@h:6379/0?p=pw2"}}
    )
    changed = plan_of(replace(alike, hosts={**alike.hosts, "web2": replace(host, settings=settings)}))
    assert [finding.hosts for finding in findings_of("cold-stop", changed)] == [("web2",)]
    (finding,) = findings_of("broker-url", changed)
    assert "redis://h:6379 goes before the fleet's own broker" in str(finding)
    assert "pw" not in str(finding)
