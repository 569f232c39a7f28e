"""What a rule finds, and how rules are registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fleet.lint.app import App
from fleet.plan.plan import Placement, Plan
from fleet.spec.text import enumerate_briefly

Level = Literal["error", "warning", "note"]


class Violation(NamedTuple):
    """One thing that a rule found: the setting it is about, what is wrong, with the numbers, and the hosts it holds for."""

    path: str
    message: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What is wrong, once for all the hosts that it holds for. silenced: the reason for which the user said so."""

    rule: str
    level: Level
    path: str
    message: str
    hosts: tuple[str, ...] = ()
    silenced: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it is for the user to act on: a note is not, and neither is what was silenced."""
        return self.level != "note" and self.silenced is None

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f" ({enumerate_briefly(self.hosts)})" if self.hosts else "") + f" [{self.rule}]"


Check = Callable[[Plan, tuple[App, ...]], Iterable[Violation]]


@dataclass(frozen=True)
class Rule:
    """A rule: its name, how bad it is, and in its docstring why it is one."""

    name: str
    level: Level
    check: Check

    @property
    def about(self) -> str:
        """The reason, in a sentence or two."""
        return " ".join((self.check.__doc__ or "").split())


RULES: dict[str, Rule] = {}


def rule(name: str, level: Level) -> Callable[[Check], Check]:
    """Register a rule under the name by which it can be silenced."""

    def register(check: Check) -> Check:
        assert name not in RULES, name  # noqa: S101 - a mistake of ours
        RULES[name] = Rule(name, level, check)
        return check

    return register


def each_role(plan: Plan) -> Iterator[Placement]:
    """One place of every role, for rules about what is the same on all its hosts."""
    for places in plan.roles.values():
        seen: set[int] = set()
        for one in places:
            if id(one.sized.worker) not in seen:
                seen.add(id(one.sized.worker))
                yield one


def merged(found: Iterable[tuple[Rule, Violation]], silenced: dict[str, str]) -> tuple[Finding, ...]:
    """Findings, worst first, those that say the same of several hosts as one."""
    by_text: dict[tuple[str, str, str], list[str]] = {}
    levels: dict[str, Level] = {}
    for one, at in found:
        levels[one.name] = one.level
        by_text.setdefault((one.name, at.path, at.message), []).extend(at.hosts)
    findings = [
        Finding(name, levels[name], path, message, tuple(dict.fromkeys(hosts)), silenced.get(name))
        for (name, path, message), hosts in by_text.items()
    ]
    order = ("error", "warning", "note")
    return tuple(sorted(findings, key=lambda finding: (finding.silenced is not None, order.index(finding.level))))
