"""How the steps of a rollout went, and what every worker runs at its end."""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from fleet.plan.instance import Instance
from fleet.rollout.steps import Step
from fleet.state.observed import ObservedMachine

MARK = "fleet-step: "
LOST = "contact lost: may run either"


@dataclass
class Outcome:
    """Of a step on a host. lines: all that is told of it; notes: what it noted itself, the reason first where it failed.

    units: as fleet_node.step says; empty where contact was lost.
    """

    ok: bool
    lines: list[str]
    notes: list[str]
    units: dict[str, dict[str, Any]] = field(default_factory=dict)


_metas: dict[tuple[Step, str], Any] = {}
_outcomes: dict[tuple[Step, str], Outcome] = {}
_states: dict[Instance, str] = {}
_before: dict[Instance, str] = {}
_wanted: dict[Instance, str] = {}


def begin(steps: Iterable[Step], seen: Mapping[str, ObservedMachine]) -> None:
    """Keep who is concerned, and what each runs now."""
    if _states:
        return
    for step in steps:
        for one in step.instances:
            unit = seen[one.host].units.get(one.unit)
            _states[one] = "untouched" if unit and unit.active else "not started"
            _before[one] = (unit.release if unit else None) or "-"
    if _states:
        atexit.register(_tell)


def expect(step: Step, host: str, meta: Any, release: str) -> None:
    """Keep where a step's outcome will be (pyinfra's meta of its operation), and the release that it brings to the host."""
    _metas[step, host] = meta
    _wanted.update({one: release for one in step.instances if one.host == host})


def of(step: Step, host: str) -> Outcome:
    """How the step went on a host. To be asked when it is done there."""
    key = (step, host)
    if key not in _outcomes:
        _outcomes[key] = _read(_metas[key])
        for one in step.instances:
            if one.host == host:
                _states[one] = _outcomes[key].units.get(one.unit, {}).get("state", "new" if _outcomes[key].ok else LOST)
    return _outcomes[key]


def failed(step: Step) -> list[str]:
    """Hosts where the step went wrong."""
    return [
        host for host in dict.fromkeys(one.host for one in step.instances) if (step, host) in _metas and not of(step, host).ok
    ]


def put_back(step: Step, host: str, well: bool) -> None:
    """Keep that a host was put back although the step went well there."""
    for one in step.instances:
        if one.host == host:
            _states[one] = "put back" if well else "down"


def all_well() -> bool:
    """Whether every worker that this run was to bring runs what it should."""
    return all(state == "new" for state in _states.values())


def _runs(one: Instance, state: str) -> str:
    """The release that an instance runs in a state."""
    before, wanted = _before[one], _wanted.get(one, "-")
    return {"new": wanted, LOST: f"{before} or {wanted}", "down": "-"}.get(state, before)


def _read(meta: Any) -> Outcome:
    lines = meta.stdout.splitlines() if meta.is_complete() else []
    marked = [line for line in lines if line.startswith(MARK)]
    if not marked:
        said = meta.stderr.splitlines()[-3:] if meta.is_complete() else []
        if any("No module named fleet_node.step" in line for line in said):
            said = ["what runs here was deployed by an earlier celery-fleet, which cannot be asked: run deploy.py first"]
        said = said or ["contact was lost; what the machine had begun it ends by itself"]
        return Outcome(False, said, said)
    found = json.loads(marked[-1].removeprefix(MARK))
    lines = [*_drains(found["units"]), *found["notes"], *_times(found.get("seconds", {}))]
    return Outcome(found["ok"], lines, found["notes"], found["units"])


def _drains(units: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{unit}: {one['drain']['told']}{', while a second one worked in its place' if one.get('surged') else ''}"
        for unit, one in units.items()
        if one.get("drain")
    ]


def _times(seconds: Mapping[str, float]) -> list[str]:
    """What took how long, for who wants to know why a rollout takes its time."""
    words = {"look": "looked", "surge": "started others", "restart": "drained and started", "gate": "watched"}
    said = [f"{word} {seconds[name]:g} s" for name, word in words.items() if seconds.get(name)]
    return [f"took: {', '.join(said)}"] if said else []


def _tell() -> None:
    """The end, where not all is well: a table of who runs what, and why."""
    if not any(meta.is_complete() for meta in _metas.values()) or all_well():
        return  # a dry run, or one that ended well
    table = Table(title="What every worker of this run is now", title_justify="left")
    for name in ("host", "worker", "release", "state"):
        table.add_column(name, overflow="fold")
    for one, state in _states.items():
        table.add_row(one.host, f"{one.role}@{one.number}", _runs(one, state), state)
    console = Console(stderr=True, soft_wrap=True)
    console.print(table)
    for (step, host), found in _outcomes.items():
        if not found.ok:
            what = "the canary" if step.canary else "a step"
            console.print(f"{what} failed on {host}: {'; '.join(line.splitlines()[0] for line in found.notes[:2])}", markup=False)
    console.print("Mend it and run it again: what is left is done then. docs/firefighting.md says more.")
