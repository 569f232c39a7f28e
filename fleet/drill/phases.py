"""The phases of `fleet drill rollout`: releases, restarts and rollbacks under load, with an account of every task."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.drill import ledger
from fleet.drill.errors import DrillError
from fleet.drill.releases import BROKEN, copy_release
from fleet.drill.runs import Runs

if TYPE_CHECKING:
    from fleet.drill.load import Producer

AS_BEFORE = "as before"
PHASES = ("release", "restart", "rollback", *BROKEN, "killed", AS_BEFORE)
BRING_A_RELEASE = frozenset({"release", "rollback", "killed"})
"""Phases after which the fleet runs a release that is not the sources'."""
CUT_OFF = "the fleet may run a release of this drill: pyinfra {} deploy.py -y brings back yours"
PATIENCE = 90
"""Seconds without any task that ends, after which the rest counts as lost: the longest task, an ETA and a step of drain."""


@dataclass(frozen=True)
class Phase:
    """One phase, done. begin and end: seconds of Redis' clock. problem: why it failed; empty if it did not."""

    name: str
    begin: float
    end: float
    problem: str

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


def complete(names: Sequence[str]) -> list[str]:
    """The phases that were asked for, and at their end, if need be, the phase that brings back the sources' release.

    Raises DrillError if there are no names, or an unknown one.
    """
    if unknown := [name for name in names if name not in PHASES]:
        raise DrillError(f"--phases: no {unknown[0]!r}; there are: {', '.join(PHASES)}")
    if not names:
        raise DrillError(f"--phases: write at least one of: {', '.join(PHASES)}")
    last_as_before = max((index for index, name in enumerate(names) if name == AS_BEFORE), default=-1)
    return [*names, AS_BEFORE] if BRING_A_RELEASE.intersection(names[last_as_before + 1 :]) else list(names)


def run_phases(runs: Runs, producer: Producer, names: Sequence[str], before: float) -> list[Phase]:
    """Do the phases while the producer sends. before: seconds of load before the first and after the last."""
    done: list[Phase] = []
    settings = runs.plan.fleet.settings
    with tempfile.TemporaryDirectory(prefix="fleet-drill-") as folder:

        def new_release(name: str) -> str:
            """Make a release for the phase; returns the setting that deploys it."""
            target = Path(folder) / name
            copy_release(Path(settings.app_source), target, settings.celery_app, name if name in BROKEN else "")
            return f"app_source={target}"

        producer.send_for(before)
        for name in names:
            runs.say(f"{name} …")
            begin = producer.now()
            problem = _do(name, runs, new_release)
            producer.check()
            done.append(Phase(name, begin, producer.now(), problem))
            runs.say(f"{name}: {problem or 'as expected'}, {done[-1].seconds:.0f} s")
        producer.send_for(before)
    return done


def _do(name: str, runs: Runs, new_release: Callable[[str], str]) -> str:
    """Do one phase. Returns its problem; empty if it went as expected."""
    if name == "restart":
        return runs.run("restart.py").problem
    if name == "rollback":
        return runs.run("rollback.py").problem
    if name == "release":
        return runs.run("deploy.py", new_release(name)).problem
    if name == "killed":
        release = new_release(name)
        if not runs.kill_in_the_middle("deploy.py", release):
            return "it could not be killed: no step had begun"
        runs.unlock()
        return runs.run("deploy.py", release).problem
    if name == AS_BEFORE:
        done = runs.run("deploy.py")
        runs.remove_drill_releases()
        return done.problem
    done = runs.run("deploy.py", new_release(name))
    if done.exit_code != 1:
        return f"a bad release was let through: exit {done.exit_code}"
    if done.steps > 1:
        return f"it was stopped in step {done.steps} and not at the canary"
    return ""


def account(producer: Producer, phases: Sequence[Phase], seconds: float) -> dict[str, Any]:
    """The account of the whole drill and of each phase, as plain values. seconds: how long the drill took."""
    entries = producer.entries()
    return {
        **ledger.account(producer.sent, entries).as_json(),
        "seconds": round(seconds, 1),
        "phases": [
            {
                "name": phase.name,
                "seconds": round(phase.seconds, 1),
                "went_wrong": phase.problem or None,
                **ledger.account(producer.sent, entries, phase.begin, phase.end).as_json(),
            }
            for phase in phases
        ],
    }
