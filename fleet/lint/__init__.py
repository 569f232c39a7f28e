"""Rules across settings: what is fine alone and loses tasks together. `fleet lint`, and in every deploy before the first change.

A module a subject; a rule is a function that yields what is wrong, with the numbers, and its docstring says why it matters.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleet.lint import application, broker, connections, coverage, delivery, gpu, memory, time
from fleet.lint.app import App
from fleet.lint.finding import RULES, Finding, Rule, Violation, merged, rule
from fleet.plan.plan import Plan
from fleet.spec.text import did_you_mean

__all__ = [
    "RULES",
    "Finding",
    "Rule",
    "application",
    "broker",
    "connections",
    "coverage",
    "delivery",
    "gpu",
    "lint",
    "memory",
    "time",
]


def lint(plan: Plan, apps: tuple[App, ...] = ()) -> tuple[Finding, ...]:
    """Everything that is wrong with the fleet, worst first. Without `apps`, the rules that look at the app find nothing."""
    ignored = plan.fleet.settings.lint_ignore
    found = [(one, asked) for one in RULES.values() for at in one.check(plan, apps) if (asked := _asked(at, plan))]
    return merged(found, ignored)


def _asked(at: Violation, plan: Plan) -> Violation | None:
    """What was found, without the machines that nobody asked: what they are like is a guess, and no reason to stop."""
    hosts = tuple(host for host in at.hosts if host not in plan.assumed)
    return at._replace(hosts=hosts) if hosts or not at.hosts else None


@rule("unknown-rule", "error")
def _unknown_rule(plan: Plan, apps: tuple[App, ...]) -> Iterator[Violation]:
    """A rule that is silenced by a name that it does not have is not silent."""
    for name in plan.fleet.settings.lint_ignore:
        if name not in RULES:
            hint = did_you_mean(name, RULES) or f"the rules are: {', '.join(sorted(RULES))}"
            yield Violation("lint_ignore", f"no rule is called {name}; {hint}")
