"""A fleet that breaks no rule, ways to break one, and the check of the cases of one module of rules."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from fleet.lint import RULES, Finding, lint
from fleet.lint.app import App, AppTask
from fleet.plan.facts import MachineFacts
from fleet.plan.plan import Plan
from tests.unit.fleet_support import MACHINE, fleet_of, plan_of

WEB: dict[str, Any] = {"queues": ["default"], "workload": "io"}
BATCH: dict[str, Any] = {
    "queues": ["batch"],
    "workload": "cpu",
    "memory_per_slot": "100M",
    "soft_time_limit": 240,
    "time_limit": 300,
}
TASKS = (
    AppTask(name="shop.order", queues=("default",), acks_late=True, reject_on_worker_lost=True, retry_delay=180),
    AppTask(name="shop.report", queues=("batch",), acks_late=True, reject_on_worker_lost=True, retry_delay=180),
)
APP = App(app="shop.app", celery="5.6.3", kombu="5.6.2", tasks=TASKS, queues=("default", "batch"), default_queue="default")


class Case(NamedTuple):
    """A plan and an app that break a rule, and the text that the finding begins with."""

    make_plan: Callable[[], Plan]
    app: App
    message: str


def plan(
    web: dict[str, Any] | None = None,
    batch: dict[str, Any] | None = None,
    machine: MachineFacts = MACHINE,
    hosts_a_role: int = 2,
    broker: dict[str, Any] | None = None,
    **settings: Any,
) -> Plan:
    """The fleet, with changed settings of its roles, its broker or all hosts."""
    workers = {"web": {**WEB, **(web or {})}, "batch": {**BATCH, **(batch or {})}}
    return plan_of(fleet_of(workers, broker=broker, hosts_a_role=hosts_a_role, **settings), machine)


def app_with(task: dict[str, Any] | None = None, **fields: Any) -> App:
    """The app, with other fields, or with its second task (in batch) changed."""
    tasks = (TASKS[0], TASKS[1].model_copy(update=task)) if task else TASKS
    return APP.model_copy(update={"tasks": tasks, **fields})


def findings_of(rule: str, plan: Plan, app: App = APP) -> list[Finding]:
    """What a rule finds."""
    return [finding for finding in lint(plan, (app,)) if finding.rule == rule]


def rules_of(module: ModuleType) -> set[str]:
    """Names of the rules that a module registers."""
    return {name for name, rule in RULES.items() if rule.check.__module__ == module.__name__}


def assert_finds(rule: str, case: Case) -> None:
    """A rule reports its case, with the numbers and at the rule's level."""
    findings = findings_of(rule, case.make_plan(), case.app)
    assert findings, f"{rule} found nothing"
    assert any(str(finding).startswith(case.message) for finding in findings), [str(finding) for finding in findings]
    assert all(finding.level == RULES[rule].level for finding in findings)
