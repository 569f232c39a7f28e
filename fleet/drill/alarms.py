"""`fleet drill alarms`: which alerts each fault sets off, and how soon. A clean restart of all workers sets off none.

A fault ends as soon as its alerts have been sent. It is a transient unit, with which systemd ends it if the drill is killed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.drill import faults, recovery
from fleet.drill.context import DrillContext, RunningWorker
from fleet.drill.errors import DrillError
from fleet.drill.fault import affected_by, choose_placement
from fleet.drill.faults import FAULTS
from fleet.drill.injection import inject
from fleet.drill.runs import Runs
from fleet.drill.watch import Alert, Watch
from fleet.plan.plan import Placement, Plan

WITHIN = 120.0
"""Seconds after its `for` within which an alert has to fire."""
LONGEST = 1200
"""Seconds after which systemd ends a fault in any case."""
QUIET = 45.0
"""Seconds, three evaluations, in which nothing new fires before a fault counts as over."""
SETTLE = 300.0
"""Seconds to wait until nothing is about to fire."""
LONG_TASK = 30.0
"""Seconds of each task that fills a queue."""
RESTARTING = frozenset({"restart", "kill-worker", "worker-away", "ghost", "reboot"})
"""Scenarios that start workers. Together they start none more often than CapacityLost allows."""
STARTS = "max(changes(fleet_worker_start_time_seconds[15m]))"
"""The most starts of a worker in the time that CapacityLost looks back."""
FAILING_AT_ONCE = 5
"""Tasks that fail, every two seconds: within half a minute they are a twentieth of the load of ten minutes."""
UNKNOWN_TASK = "fleet.drill.unknown"
"""A task that no worker has."""


@dataclass(frozen=True)
class Place:
    """Where a scenario happens: a worker, and its role on its host."""

    worker: RunningWorker
    placement: Placement

    @property
    def queue(self) -> str:
        """The first queue of the role."""
        return self.placement.worker.queues[0]


@dataclass(frozen=True)
class Scenario:
    """action: what is done, in the imperative. alerts: names of those that have to be sent. may: of those that may be, besides.
    at: "unit", "broker", "monitor" or "all": where it happens. begin, end: sh; None if the drill itself acts.
    after: seconds from the beginning until the condition of the alert can come true."""

    name: str
    action: str
    alerts: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    at: str = "unit"
    begin: Callable[[Place], str] | None = None
    end: Callable[[Place], str] | None = None
    after: float = 0.0
    fault: str = ""


def _unit(verb: str) -> Callable[[Place], str]:
    return lambda place: f"systemctl {verb} {shlex.quote(place.worker.unit)}"


def _service(verb: str, name: str) -> Callable[[Place], str]:
    return lambda _: f"systemctl {verb} {name}"


def _set(*names: str) -> frozenset[str]:
    return frozenset(names)


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("restart", "restart every worker (restart.py)", at="all"),
        *(
            Scenario(name, FAULTS[name].action, fault=name)
            for name in ("kill-child", "kill-worker", "broker-restart", "disk-full")
        ),
        Scenario("partition", FAULTS["partition"].action, fault="partition"),
        Scenario("worker-away", "stop a worker", _set("WorkerSilent"), begin=_unit("stop"), end=_unit("start")),
        Scenario(
            "ghost", "have a worker consume nothing", _set("CapacityLost"), begin=lambda _: "true", end=_unit("restart"), after=60
        ),
        Scenario(
            "broker-away",
            "stop Redis",
            _set("BrokerDown"),
            at="broker",
            begin=_service("stop", "redis-server"),
            end=_service("start", "redis-server"),
        ),
        Scenario(
            "exporter-away",
            "stop the exporter",
            _set("MonitorBlind"),
            at="monitor",
            begin=_service("stop", "fleet-exporter"),
            end=_service("start", "fleet-exporter"),
        ),
        Scenario("dead-letter", "send a task that no worker has", _set("StuckOrPoison")),
        Scenario("failing", "send tasks that fail", _set("TaskFailing")),
        Scenario("queue-old", "fill a queue", _set("QueueTooOld"), may=_set("WaitBudgetBurn", "NotDraining")),
        Scenario("oom", FAULTS["oom"].action, _set("CapacityLost"), fault="oom"),
        Scenario("reboot", FAULTS["reboot"].action, fault="reboot"),
    )
}
"""In the order in which they are done: alerts that stay for a while come last."""


@dataclass(frozen=True)
class Result:
    """How a scenario went. fired: name of an alert → seconds from the beginning until it fired. limits: name → seconds that it
    may take. unexpected: other alerts, in words. skipped: why it was not done; empty if it was."""

    name: str
    action: str
    at: str
    seconds: float
    expected: frozenset[str]
    fired: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    unexpected: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def problems(self) -> list[str]:
        """What is not as it should be, in words."""
        lines = [f"{name} did not fire" for name in sorted(self.expected - self.fired.keys())]
        lines += [
            f"{name} fired after {self.fired[name]:.0f} s, and its limit is {self.limits[name]:.0f} s"
            for name in sorted(self.expected & self.fired.keys())
            if self.fired[name] > self.limits[name]
        ]
        return [*lines, *(f"{text} fired" for text in self.unexpected)]

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "name": self.name,
            "action": self.action,
            "at": self.at,
            "seconds": round(self.seconds),
            "expected": sorted(self.expected),
            "fired": {name: round(seconds) for name, seconds in self.fired.items()},
            "limits": {name: round(seconds) for name, seconds in self.limits.items()},
            "unexpected": list(self.unexpected),
            "skipped": self.skipped,
            "went_wrong": "; ".join(self.problems) if not self.skipped else "",
        }


def chosen(only: str) -> list[Scenario]:
    """The scenarios of these names, with commas between them; all if there is none. Raises DrillError for an unknown one."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise DrillError(f"--only: no {unknown[0]!r}; there are: {', '.join(SCENARIOS)}")
    return [scenario for scenario in SCENARIOS.values() if not names or scenario.name in names]


def expected(scenario: Scenario, plan: Plan, place: Place) -> tuple[frozenset[str], frozenset[str]]:
    """(alerts that have to fire, alerts that may): a worker that is the only one of its queues takes their consumers with it."""
    alerts, may = scenario.alerts, scenario.may
    if scenario.name in ("worker-away", "ghost"):
        left = {queue: plan.consumers.get(queue, 0) - 1 for queue in place.placement.worker.queues}
        if any(number < plan.min_consumers(queue) for queue, number in left.items()):
            alerts |= {"WorkerSilent"}
        if any(number == 0 for number in left.values()):
            may |= {"QueueUnconsumed", "QueueTooOld", "QueueStalled"}
    return alerts, may


def result(
    scenario: Scenario,
    place: str,
    began: float,
    ended: float,
    alerts: Iterable[Alert],
    expects: tuple[frozenset[str], frozenset[str]],
    after: float,
) -> Result:
    """Judge a scenario. began, ended: seconds since 1970. alerts: that were sent. expects: names that have to be there, and that
    may be. after: seconds until a condition can come true."""
    expected_names, may = expects
    fired: dict[str, float] = {}
    limits: dict[str, float] = {}
    unexpected = []
    for alert in sorted(alerts, key=lambda alert: alert.fired_at):
        if alert.name in expected_names and alert.name not in fired:
            fired[alert.name] = max(0.0, alert.fired_at - began)
            limits[alert.name] = alert.waits + after + WITHIN
        elif alert.name not in expected_names | may:
            about = ", ".join(value for name, value in alert.labels if name in ("cause", "severity", "queue", "worker"))
            unexpected.append(f"{alert.name} ({about})")
    return Result(scenario.name, scenario.action, place, ended - began, expected_names, fired, limits, tuple(unexpected))


class Drill:
    """Does scenarios one after the other."""

    def __init__(self, context: DrillContext, runs: Runs, watch: Watch) -> None:
        self._context, self._runs, self._watch, self._now = context, runs, watch, watch.now
        self._workers = context.workers()

    def wait_for_earlier_starts(self, scenarios: Iterable[Scenario]) -> None:
        """Wait until nobody has started a worker for 15 minutes: those starts would count with this drill's own."""
        if not any(scenario.name in RESTARTING for scenario in scenarios):
            return
        if self._watch.number(STARTS):
            self._context.say("workers were started within the last 15 minutes: waiting until that is over …")
            self._watch.wait(lambda: not self._watch.number(STARTS), 16 * 60, self._context.producer.check)

    def run(self, scenario: Scenario) -> Result:
        """Do one: wait until all is quiet, do it, wait for its alerts, end it, wait until all is quiet. Raises DrillError."""
        context, watch = self._context, self._watch
        place = self._place(scenario)
        fleet = context.plan.fleet
        where = {"unit": str(place.worker), "broker": fleet.broker_host, "monitor": fleet.monitor_host}.get(scenario.at) or "all"
        alerts, may = expected(scenario, context.plan, place)
        objective = context.plan.fleet.settings.slo.get(place.queue)
        if scenario.name == "queue-old" and objective is None:
            reason = f"{place.queue} has no objective; write slo = {{{place.queue!r}: 10}} in group_data/all.py"
            return Result(scenario.name, scenario.action, where, 0, alerts, skipped=reason)
        after = scenario.after + (objective or 0 if scenario.name == "queue-old" else 0)
        watch.wait(lambda: not watch.last.pending, SETTLE, context.producer.check)
        already = {(alert.name, alert.labels) for alert in watch.last.fires}
        watch.forget()
        began = self._now()
        context.say(f"{scenario.name}: {scenario.action}, at {where} …")

        def new() -> list[Alert]:
            return [
                alert for alert in watch.fired.values() if (alert.name, alert.labels) not in already and alert.fired_at > began
            ]

        def all_fired() -> bool:
            return alerts <= {alert.name for alert in new()}

        try:
            self._begin(scenario, place, where, alerts)
            if alerts:
                longest = max((float(seconds) for seconds in self._longest_for(alerts)), default=300.0)
                watch.wait(all_fired, after + longest + 2 * WITHIN, context.producer.check)
        finally:
            self._end(scenario, place, where)
        self._quiet()
        done = result(scenario, where, began, self._now(), new(), (alerts, may), after)
        context.say(f"{scenario.name}: {'; '.join(done.problems) or 'as expected'}, {done.seconds:.0f} s")
        return done

    def _quiet(self) -> None:
        """Wait until nothing is about to fire, for some evaluations."""
        watch, context = self._watch, self._context
        since = self._now()

        def is_quiet() -> bool:
            nonlocal since
            if watch.last.pending:
                since = self._now()
            return self._now() - since > QUIET

        watch.wait(is_quiet, SETTLE, context.producer.check)

    def _place(self, scenario: Scenario) -> Place:
        plan = self._context.plan
        if scenario.fault:
            placement = choose_placement(FAULTS[scenario.fault], plan, None)
        elif scenario.name == "queue-old":
            # Where few tasks fill the slots, of the queues that have an objective.
            objectives = plan.fleet.settings.slo
            fitting = [placement for placement in plan.placed if placement.worker.queues[0] in objectives] or plan.placed
            placement = min(fitting, key=lambda placement: sum(place.sized.slots for place in plan.roles[placement.role]))
        else:
            # Where others go on: the role with most machines.
            placement = max(plan.placed, key=lambda placement: len(plan.roles[placement.role]))
        worker = next(
            worker
            for worker in self._workers
            if worker.host == placement.host and worker.unit.startswith(f"celery-{placement.role}@")
        )
        return Place(worker, placement)

    def _begin(self, scenario: Scenario, place: Place, where: str, alerts: frozenset[str]) -> None:
        context, producer = self._context, self._context.producer
        if scenario.name == "restart":
            if problem := self._runs.run("restart.py").problem:
                raise DrillError(f"restart.py: {problem}")
        elif scenario.fault:
            fault = FAULTS[scenario.fault]
            pids = context.processes([place.worker])
            began = producer.now()
            inject(fault, context, place.worker, place.placement)
            ended = recovery.wait_until_over(fault, context, place.placement, place.worker, pids.get(place.worker), began)
            recovery.wait_for_recovery(context, affected_by(fault, place.worker, self._workers), ended)
        elif scenario.name == "dead-letter":
            producer.send_unknown(UNKNOWN_TASK, place.queue)
        elif scenario.name == "failing":
            self._watch.wait(lambda: self._fail(place, alerts), 600, producer.check)
        elif scenario.name == "queue-old":
            slots = sum(placement.sized.slots for placement in context.plan.roles[place.placement.role])
            for _ in range(slots * int(420 / LONG_TASK) + slots):
                producer.send_aside("long", LONG_TASK, place.queue)
        else:
            assert scenario.begin and scenario.end  # noqa: S101 - the others are done here
            host = where if scenario.at != "unit" else place.worker.host
            context.ask(host, faults.for_a_while(scenario.begin(place), scenario.end(place), LONGEST))
            if scenario.name == "ghost":
                producer.stop_consuming(place.worker.node, place.placement.worker.queues)

    def _fail(self, place: Place, alerts: frozenset[str]) -> bool:
        """Send tasks that fail: enough to be a share of those that do not. Returns whether the alerts have fired."""
        for _ in range(FAILING_AT_ONCE):
            self._context.producer.send_aside("fail", 0.0, place.queue)
        self._context.producer.send_for(2)
        return alerts <= {alert.name for alert in self._watch.fired.values()}

    def _end(self, scenario: Scenario, place: Place, where: str) -> None:
        context = self._context
        if scenario.begin:
            host = where if scenario.at != "unit" else place.worker.host
            context.ask(host, f"systemctl stop {faults.UNIT} 2>/dev/null || true")
        if scenario.name == "dead-letter":
            from fleet.broker import parked

            parked.drop(context.broker, [letter for letter in parked.read(context.broker) if letter["task"] == UNKNOWN_TASK])
        if scenario.name == "queue-old":
            context.say("waiting until what fills the queue is done …")
            self._watch.wait(lambda: not context.broker.llen(place.queue), 600)

    def _longest_for(self, alerts: frozenset[str]) -> list[float]:
        return [alert.waits for alert in self._watch.fired.values() if alert.name in alerts] or [360.0]
