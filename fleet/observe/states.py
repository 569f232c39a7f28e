"""What a worker is, judged by three witnesses: systemd, its connection to the broker, and its own sign. Pure.

Silence is never taken for idleness: a worker is idle only if it says so now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fleet.observe.machine import Machine, Unit
from fleet.spec.text import count
from fleet_node.protocol import WorkerSign

State = Literal["idle", "busy", "draining", "starting", "out", "ghost", "stopped", "cut off", "dead", "unknown"]
WELL: frozenset[State] = frozenset({"idle", "busy", "draining", "starting"})
"""States in which nobody has to do anything."""
WORDS: dict[State, str] = {
    "idle": "runs no task",
    "busy": "runs tasks",
    "draining": "takes nothing more, and finishes what it has",
    "starting": "is not ready yet",
    "out": "its device is not to be used",
    "ghost": "runs and consumes nothing",
    "stopped": "its process was stopped by a signal",
    "cut off": "runs, and does not reach the broker",
    "dead": "does not run",
    "unknown": "does not answer, and nobody knows why",
}
RECENT = 12.0
"""Seconds for which a sign counts. A worker with tasks gives one every ten."""


@dataclass(frozen=True)
class Witnesses:
    """All that is known of one worker. answer: to a question of just now; None if it did not answer.

    machine: None if it did not answer over SSH; silence says why. unit: None if the machine has no such unit. sign, sign_age:
    what it last said in Redis, and how many seconds ago. renewed, connected: seconds since its lease was renewed, and since its
    connection said something. present: whether it has a connection, if RabbitMQ was asked. broker: whether the broker answers.
    """

    answer: WorkerSign | None = None
    machine: Machine | None = None
    silence: str = ""
    unit: Unit | None = None
    sign: WorkerSign | None = None
    sign_age: float | None = None
    renewed: float | None = None
    connected: float | None = None
    present: bool | None = None
    broker: bool = True

    @property
    def heard(self) -> dict[str, float | None]:
        """Witness → how many seconds ago it was heard; None if it says nothing of the worker."""
        signs = [age for age in (self.sign_age, self.renewed) if age is not None]
        own = 0.0 if self.answer else min(signs, default=None)
        return {"systemd": _signalled(self.unit), "connection": self.connected, "sign": own}


@dataclass(frozen=True)
class Verdict:
    """state, and why in words; empty if the state says it all."""

    state: State
    why: str = ""


def judge(witnesses: Witnesses) -> Verdict:
    """What a worker is."""
    if witnesses.answer:
        stopping = witnesses.unit is not None and witnesses.unit.active == "deactivating"
        return _of_answer({**witnesses.answer, "draining": True} if stopping else witnesses.answer)
    if witnesses.machine is None:
        return _of_silent_machine(witnesses)
    if witnesses.unit is None:
        return Verdict("dead", "there is no such unit; deploy it")
    return _of_unit(witnesses, witnesses.unit)


def _of_answer(sign: WorkerSign) -> Verdict:
    if sign["draining"]:
        return Verdict("draining", f"{sum(sign['running'].values())} running")
    if sign["unavailable"]:
        return Verdict("out", sign["unavailable"])
    if not sign["queues"]:
        return Verdict("ghost", "it answers, and consumes no queue")
    return Verdict("busy" if sign["running"] else "idle")


def _of_silent_machine(witnesses: Witnesses) -> Verdict:
    """Of a machine that does not answer over SSH, and a worker that does not answer through the broker."""
    if not witnesses.silence:
        return Verdict("unknown", "its machine has not answered yet")
    if not witnesses.broker:
        return Verdict("unknown", f"neither its machine nor the broker answers ({witnesses.silence})")
    if witnesses.present is not None:
        if witnesses.present:
            return Verdict("unknown", f"its machine does not answer ({witnesses.silence}), and it is connected to the broker")
        return Verdict("dead", f"its machine does not answer ({witnesses.silence}), and it has no connection to the broker")
    ages = [age for age in (witnesses.sign_age, witnesses.renewed) if age is not None]
    if min(ages, default=RECENT) < RECENT:
        state: State = "busy" if _busy_by_sign(witnesses) and _loop_runs_tasks(witnesses.sign) else "unknown"
        return Verdict(
            state, f"its machine does not answer ({witnesses.silence}), and its lease was renewed {min(ages):.0f} s ago"
        )
    since = f", and nothing was heard of it for {min(ages):.0f} s" if ages else ", and it has no lease"
    return Verdict("dead", f"its machine does not answer ({witnesses.silence}){since}")


def _of_unit(witnesses: Witnesses, unit: Unit) -> Verdict:
    """Of a worker that does not answer through the broker, by its unit."""
    machine = witnesses.machine
    if unit.active in ("inactive", "failed") or unit.sub.startswith("auto-restart"):
        again = ", to be started again" if unit.sub.startswith("auto-restart") else ""
        return Verdict("dead", _ending(unit) + again)
    if unit.active == "activating":
        return Verdict("starting", count(unit.restarts, "restart") if unit.restarts else "")
    if unit.process == "T":
        return Verdict("stopped", "SIGCONT lets it go on")
    if unit.active == "deactivating" or unit.status.startswith("draining"):
        return Verdict("draining", unit.status)
    if unit.status.startswith("its device is away"):
        return Verdict("out", unit.status)
    if machine and machine.reaches_broker is False:
        return Verdict("cut off", "its machine cannot connect to the broker")
    if unit.status.startswith("its broker is away"):
        return Verdict("cut off", "it has lost the broker")
    if witnesses.present is False:
        return Verdict("cut off", "the broker has no connection of it")
    if unit.status.startswith("consumes nothing"):
        return Verdict("ghost", unit.status)
    signalled = _signalled(unit)
    if _busy_by_sign(witnesses) or (unit.busy and signalled is not None and signalled < RECENT):
        slow = (
            "it does not answer while its main loop runs a task" if _loop_runs_tasks(witnesses.sign) else "it is slow to answer"
        )
        return Verdict("busy", slow if witnesses.broker else "")
    return Verdict("unknown", "it runs, and does not answer" + (f"; it told systemd: {unit.status}" if unit.status else ""))


def _signalled(unit: Unit | None) -> float | None:
    """Seconds since systemd had a sign of the worker: it gets on, or, without a watchdog, its process is there."""
    if unit is None or unit.active != "active":
        return None
    return 0.0 if unit.signalled is None else unit.signalled


def _busy_by_sign(witnesses: Witnesses) -> bool:
    """Whether the worker has said just now, by itself, that it runs tasks."""
    return bool(witnesses.sign and witnesses.sign["running"] and witnesses.sign_age is not None and witnesses.sign_age < RECENT)


def _loop_runs_tasks(sign: WorkerSign | None) -> bool:
    """Whether the worker's main loop stands still while a task computes."""
    return bool(sign and sign["pool"] in ("solo", "gevent", "eventlet"))


def _ending(unit: Unit) -> str:
    words = {"oom-kill": "killed for memory", "signal": "killed by a signal", "exit-code": "ended with an error"}
    text = words.get(unit.result, "stopped" if unit.result in ("success", "") else unit.result)
    return f"{text}, {count(unit.restarts, 'restart')}" if unit.restarts else text
