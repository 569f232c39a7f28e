"""How the steps of a rollout went, and what every worker runs at its end. Pure: the engine hands in what machines printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleet.plan.instance import Instance
from fleet.rollout import legacy
from fleet.rollout.history import HostRecord, StepRecord, durations
from fleet.rollout.steps import Step
from fleet.state.observed import ObservedMachine
from fleet_node.protocol import STEP_MARK, StepResult, UnitResult, UnitState

LOST = "contact lost: may run either"
NO_ANSWER = "contact was lost; what the machine had begun it ends by itself"
EARLIER_VERSION = "what runs here was deployed by an earlier celery-fleet, which cannot be asked: run deploy.py first"
LONGEST_NOTE = 4_000
"""Characters of a note that the history keeps: its beginning, and the end of a journal."""


def shortened(note: str) -> str:
    """A note as the history keeps it. What failed stands first, and the exception last."""
    return note if len(note) <= LONGEST_NOTE else f"{note[:500]}\n…\n{note[503 - LONGEST_NOTE :]}"


@dataclass
class HostResult:
    """Result of one step on one host.

    lines: report for the log; notes: the step's own messages, failure reason first. units: as fleet_node.step reported; empty if
    contact was lost. seconds: by phase.
    """

    ok: bool
    lines: list[str]
    notes: list[str]
    units: Mapping[str, UnitResult] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    put_back: bool = False

    def as_record(self) -> HostRecord:
        """The result as the history keeps it."""
        return {
            "ok": self.ok,
            "put_back": self.put_back,
            "notes": [shortened(note) for note in self.notes],
            "seconds": dict(self.seconds),
            "units": {name: {"state": unit["state"], "drain": _drain(unit) or None} for name, unit in self.units.items()},
        }


def parse(stdout: Sequence[str], stderr: Sequence[str]) -> HostResult:
    """The result in the output of `fleet_node.step`. Without one, contact was lost, or the machine could not run the step."""
    marked = [line.removeprefix(STEP_MARK) for line in stdout if line.startswith(STEP_MARK)]
    if not marked:
        notes = list(stderr[-3:])
        if any("No module named fleet_node.step" in line for line in notes):
            notes = [EARLIER_VERSION]
        notes = notes or [NO_ANSWER]
        return HostResult(False, notes, notes)
    result: StepResult = json.loads(marked[-1])
    seconds = result.get("seconds", {})
    drains = [f"{unit}: {drain}" for unit, unit_result in result["units"].items() if (drain := _drain(unit_result))]
    took = durations(seconds)
    lines = [*drains, *result["notes"], *([f"took: {took}"] if took else [])]
    return HostResult(result["ok"], lines, result["notes"], result["units"], seconds, result.get("put_back", False))


def _drain(unit: UnitResult) -> str:
    """How a unit's drain went, in words; empty if there was none."""
    report = unit.get("drain")
    if not report:
        return ""
    return f"{legacy.summary_of(report)}{', while a second one worked in its place' if unit.get('surged') else ''}"


class Results:
    """What the steps of one rollout have come to so far."""

    def __init__(self, steps: Sequence[Step], observed: Mapping[str, ObservedMachine]) -> None:
        self._steps = tuple(steps)
        self._by_host: dict[tuple[Step, str], HostResult] = {}
        self._states: dict[Instance, str] = {}
        self._before: dict[Instance, str] = {}
        self._brought: dict[Instance, str] = {}
        for step in steps:
            for instance in step.instances:
                unit = observed[instance.host].units.get(instance.unit)
                self._states[instance] = "untouched" if unit and unit.active else "not started"
                self._before[instance] = (unit.release if unit else None) or "-"

    def expect(self, step: Step, host: str, release: str) -> None:
        """Note the release that a step brings to a host."""
        self._brought.update(dict.fromkeys(_on(step, host), release))

    def record(self, step: Step, host: str, result: HostResult) -> None:
        """Note how a step went on a host."""
        self._by_host[step, host] = result
        for instance in _on(step, host):
            unit = result.units.get(instance.unit)
            self._states[instance] = unit["state"] if unit else "new" if result.ok else LOST

    def record_put_back(self, step: Step, host: str, succeeded: bool) -> None:
        """Note that a host on which the step went well was put back with the others."""
        state: UnitState = "put back" if succeeded else "down"
        result = self._by_host[step, host]
        result.put_back = succeeded
        result.units = {name: {**unit, "state": state} for name, unit in result.units.items()}
        self._states.update(dict.fromkeys(_on(step, host), state))

    def of(self, step: Step, host: str) -> HostResult | None:
        """How a step went on a host; None if that is not known yet."""
        return self._by_host.get((step, host))

    def failed_hosts(self, step: Step) -> list[str]:
        """Hosts on which a step went wrong."""
        return [host for host in step.hosts if (result := self.of(step, host)) and not result.ok]

    @property
    def began(self) -> bool:
        """Whether some step has ended on some host. Not so in a dry run."""
        return bool(self._by_host)

    @property
    def all_well(self) -> bool:
        """Whether every worker that this run was to bring runs what it should."""
        return all(state == "new" for state in self._states.values())

    def table(self) -> list[tuple[str, str, str, str]]:
        """(host, worker, release, state) of every worker of the rollout, as it is now."""
        return [
            (instance.host, f"{instance.role}@{instance.number}", self._release(instance, state), state)
            for instance, state in self._states.items()
        ]

    def reasons(self) -> list[str]:
        """A line for each host on which a step failed: what failed, and why."""
        return [
            f"{'the canary' if step.canary else 'a step'} failed on {host}: "
            + "; ".join((note.splitlines() or [""])[0] for note in result.notes[:2])
            for (step, host), result in self._by_host.items()
            if not result.ok
        ]

    def as_records(self) -> list[StepRecord]:
        """Every step as the history keeps it; one that no host has begun has no hosts."""
        return [
            {
                "number": number,
                "canary": step.canary,
                "instances": [str(instance) for instance in step.instances],
                "hosts": {host: result.as_record() for host in step.hosts if (result := self.of(step, host))},
            }
            for number, step in enumerate(self._steps, 1)
        ]

    def _release(self, instance: Instance, state: str) -> str:
        """The release that an instance runs in a state."""
        before, brought = self._before[instance], self._brought.get(instance, "-")
        return {"new": brought, LOST: f"{before} or {brought}", "down": "-"}.get(state, before)


def _on(step: Step, host: str) -> Iterable[Instance]:
    return (instance for instance in step.instances if instance.host == host)
