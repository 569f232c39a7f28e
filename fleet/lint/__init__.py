"""Rules across settings: each setting is valid alone, and together they lose tasks. `fleet lint` checks them, and every deploy
does before the first change.

Each module has the rules of one subject. A rule is a function that yields what is wrong, with the numbers; its docstring says why
it matters.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleet.lint import application, beat, broker, connections, coverage, delivery, gpu, memory, pools, rabbitmq, release, time
from fleet.lint.app import App
from fleet.lint.finding import RULES, Finding, Rule, Violation, merged, rule
from fleet.plan.plan import Plan
from fleet.spec.text import did_you_mean

__all__ = [
    "RULES",
    "Finding",
    "Rule",
    "application",
    "beat",
    "broker",
    "connections",
    "coverage",
    "delivery",
    "gpu",
    "lint",
    "memory",
    "pools",
    "rabbitmq",
    "release",
    "time",
]


def lint(plan: Plan, apps: tuple[App, ...] = ()) -> tuple[Finding, ...]:
    """Check every rule. Returns the findings, worst first. Without `apps`, rules about the app find nothing."""
    violations = [
        (checked, about_known)
        for checked in RULES.values()
        for violation in checked.check(plan, apps)
        if (about_known := _without_assumed_hosts(violation, plan))
    ]
    return merged(violations, plan.fleet.settings.lint_ignore)


def _without_assumed_hosts(violation: Violation, plan: Plan) -> Violation | None:
    """The violation, without hosts that were not asked for their facts: a guess about a machine must not stop a deploy."""
    hosts = tuple(host for host in violation.hosts if host not in plan.assumed)
    return violation._replace(hosts=hosts) if hosts or not violation.hosts else None


@rule("unknown-rule", "error")
def _unknown_rule(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """lint_ignore names a rule that does not exist, so nothing is silenced."""
    for name in plan.fleet.settings.lint_ignore:
        if name not in RULES:
            hint = did_you_mean(name, RULES) or f"the rules are: {', '.join(sorted(RULES))}"
            yield Violation("lint_ignore", f"no rule is called {name}; {hint}")
