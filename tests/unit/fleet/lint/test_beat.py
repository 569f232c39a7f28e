"""Rules about beat."""

from dataclasses import replace

import pytest

from fleet.lint import beat
from fleet.lint.app import AppEntry, AppScheduler
from fleet.plan.plan import Plan
from tests.unit.fleet.lint.rules_support import Case, app_with, assert_finds, findings_of, plan, rules_of

pytestmark = pytest.mark.usefixtures("app_folder")


def beats(*hosts: str) -> Plan:
    """The fleet, with beat on these hosts."""
    whole = plan()
    return replace(whole, fleet=replace(whole.fleet, beat_hosts=hosts))


def two_apps() -> Plan:
    whole = beats("web1", "web2")
    web2 = whole.fleet.hosts["web2"]
    other = replace(web2, settings=web2.settings.model_copy(update={"celery_app": "other.app"}))
    return replace(whole, fleet=replace(whole.fleet, hosts={**whole.fleet.hosts, "web2": other}))


ENTRY = AppEntry(name="nightly", task="shop.report", queues=("batch",))


def entry(**change: object) -> AppEntry:
    return ENTRY.model_copy(update=change)


CASES = {
    "schedule-without-beat": Case(
        plan,
        app_with(schedule=("nightly", "hourly")),
        "shop.app: beat_schedule: nightly, hourly: the fleet runs no beat that sends them; write hosts in the group beat",
    ),
    "beat-without-schedule": Case(
        lambda: beats("web1"), app_with(), "shop.app: beat_schedule: empty, and the fleet runs a beat for it (web1)"
    ),
    "beat-unknown-task": Case(
        lambda: beats("web1"),
        app_with(schedule=("nightly",), entries=(entry(task="shop.reprot", known=False),)),
        "shop.app: beat_schedule['nightly']: no task is called shop.reprot; did you mean shop.report?",
    ),
    "beat-unconsumed-queue": Case(
        lambda: beats("web1"),
        app_with(schedule=("nightly",), entries=(entry(queues=("nigth",)),)),
        "shop.app: beat_schedule['nightly']: no worker consumes nigth, where shop.report is sent; add nigth to a role's queues",
    ),
    "beat-scheduler": Case(
        lambda: beats("web1"),
        app_with(scheduler=AppScheduler(name="a.b:C", is_celerys=False, error="ModuleNotFoundError: No module named 'a'")),
        "shop.app: beat_scheduler: a.b:C does not import: ModuleNotFoundError: No module named 'a'; is it in the app's",
    ),
    "beat-without-lock": Case(
        lambda: beats("web1", "web2"),
        app_with(scheduler=AppScheduler(name="celery.beat:PersistentScheduler", has_lock=False)),
        "beat: the broker is no Redis, so that each of these would send everything; leave one (web1, web2)",
    ),
    "beat-of-two-apps": Case(two_apps, app_with(), "beat: shop.app on web1 and other.app on web2: one of them leads"),
    "single-beat": Case(lambda: beats("web1"), app_with(), "beat: one host runs it"),
}


def test_every_rule_of_the_module_has_a_case() -> None:
    assert set(CASES) == rules_of(beat)


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_reports_its_case(rule: str) -> None:
    assert_finds(rule, CASES[rule])


def test_a_schedule_that_beat_can_send_breaks_no_rule() -> None:
    app = app_with(schedule=("nightly",), entries=(ENTRY,), scheduler=AppScheduler(name="celery.beat:PersistentScheduler"))
    assert [rule for rule in CASES if findings_of(rule, beats("web1", "web2"), app)] == []


def test_a_scheduler_of_others_may_have_its_entries_elsewhere() -> None:
    app = app_with(scheduler=AppScheduler(name="redbeat.RedBeatScheduler", is_celerys=False))
    assert findings_of("beat-without-schedule", beats("web1", "web2"), app) == []


def test_a_schedule_of_a_fleet_without_beat_is_another_beats() -> None:
    app = app_with(schedule=("nightly",), entries=(entry(known=False, queues=("gone",)),))
    assert findings_of("beat-unknown-task", plan(), app) == findings_of("beat-unconsumed-queue", plan(), app) == []
