"""Rules and their register, and what they find: violations, merged into findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fleet.lint.app import App
from fleet.plan.plan import Placement, Plan
from fleet.spec.text import enumerate_briefly

Level = Literal["error", "warning", "note"]


class Violation(NamedTuple):
    """A rule that is broken. path: the setting. message: what is wrong, with the numbers. hosts: none if it concerns no single
    host."""

    path: str
    message: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """The same violation on one or more hosts. silenced: the user's reason in lint_ignore; None if the rule is not silenced.

    about: what stays the same of the message between runs, if it has numbers that move. new: whether no earlier run reported it.
    of_run: whether it says what this run could not look at, and not what is wrong with the fleet.
    """

    rule: str
    level: Level
    path: str
    message: str
    hosts: tuple[str, ...] = ()
    silenced: str | None = None
    about: str | None = None
    new: bool = True
    of_run: bool = False

    @property
    def counts(self) -> bool:
        """Whether the user has to act on it. Notes and silenced findings do not count."""
        return self.level != "note" and self.silenced is None

    @property
    def is_error(self) -> bool:
        """Whether it stops a deploy."""
        return self.level == "error" and self.silenced is None

    @property
    def in_full(self) -> bool:
        """Whether it is shown unasked, and not counted only."""
        return self.is_error or self.new or self.of_run

    def __str__(self) -> str:
        hosts = f" ({enumerate_briefly(self.hosts)})" if self.hosts else ""
        rule = f" [{self.rule}]" if self.rule in RULES else ""  # the name is for lint_ignore, which silences no other finding
        return f"{self.path}: {self.message}{hosts}{rule}"


Check = Callable[[Plan, tuple[App, ...]], Iterable[Violation]]


@dataclass(frozen=True)
class Rule:
    """A rule: its name, its level, and the function that checks it. The docstring of the function is the reason for the rule."""

    name: str
    level: Level
    check: Check

    @property
    def about(self) -> str:
        """The reason for the rule, in one or two sentences."""
        return " ".join((self.check.__doc__ or "").split())


RULES: dict[str, Rule] = {}


def rule(name: str, level: Level) -> Callable[[Check], Check]:
    """Register a rule. lint_ignore silences it by this name."""

    def register(check: Check) -> Check:
        assert name not in RULES, name  # noqa: S101 - our own mistake, not the user's
        RULES[name] = Rule(name, level, check)
        return check

    return register


def each_role(plan: Plan) -> Iterator[Placement]:
    """A placement for each role, and for each variant of its settings: hosts that share their settings appear once."""
    for placements in plan.roles.values():
        variants: set[int] = set()
        for placement in placements:
            if id(placement.worker) not in variants:
                variants.add(id(placement.worker))
                yield placement


def merged(violations: Iterable[tuple[Rule, Violation]], silenced: dict[str, str]) -> tuple[Finding, ...]:
    """Findings, worst first. Violations with the same text on several hosts become one finding. silenced: rule → reason."""
    hosts_by_text: dict[tuple[str, str, str], list[str]] = {}
    levels: dict[str, Level] = {}
    for broken, violation in violations:
        levels[broken.name] = broken.level
        hosts_by_text.setdefault((broken.name, violation.path, violation.message), []).extend(violation.hosts)
    findings = [
        Finding(name, levels[name], path, message, tuple(dict.fromkeys(hosts)), silenced.get(name))
        for (name, path, message), hosts in hosts_by_text.items()
    ]
    order = ("error", "warning", "note")
    return tuple(sorted(findings, key=lambda finding: (finding.silenced is not None, order.index(finding.level))))
