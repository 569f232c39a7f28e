"""The faults of `fleet drill alarms`: what is done, which alerts have to be sent, and how what was sent is judged. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.drill.context import RunningWorker
from fleet.drill.errors import DrillError
from fleet.drill.fault import choose_placement
from fleet.drill.faults import FAULTS
from fleet.drill.watch import Alert
from fleet.plan.plan import Placement, Plan
from fleet.spec.fleet import Fleet

WITHIN = 120.0
"""Seconds after its `for` within which an alert has to fire."""
LONGEST = 1200
"""Seconds after which systemd ends a fault in any case."""
RESTARTING = frozenset({"restart", "kill-worker", "worker-away", "ghost", "reboot"})
"""Scenarios that start workers. Together they start none more often than CapacityLost allows."""


@dataclass(frozen=True)
class Place:
    """Where a scenario happens: a worker, and its role on its host. service: the unit of the fleet's own broker."""

    worker: RunningWorker
    placement: Placement
    service: str = "redis-server"

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


def _broker(verb: str) -> Callable[[Place], str]:
    return lambda place: f"systemctl {verb} {place.service}"


def _set(*names: str) -> frozenset[str]:
    return frozenset(names)


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("restart", "restart every worker (restart.py)", at="all"),
        *(
            Scenario(name, FAULTS[name].action, fault=name)
            for name in ("kill-child", "kill-worker", "broker-restart", "disk-full", "partition")
        ),
        Scenario("worker-away", "stop a worker", _set("WorkerSilent"), begin=_unit("stop"), end=_unit("start")),
        Scenario(
            "ghost", "have a worker consume nothing", _set("CapacityLost"), begin=lambda _: "true", end=_unit("restart"), after=60
        ),
        Scenario(
            "broker-away",
            "stop the broker",
            _set("BrokerDown"),
            at="broker",
            begin=_broker("stop"),
            end=_broker("start"),
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


def choose(scenario: Scenario, plan: Plan) -> Placement:
    """The role and host at which a scenario happens. Raises DrillError if it means something for none."""
    if scenario.fault:
        return choose_placement(FAULTS[scenario.fault], plan, None)
    if scenario.name == "queue-old":
        # Where few tasks fill the slots, of the queues that have an objective.
        objectives = plan.fleet.settings.slo
        fitting = [placement for placement in plan.placed if placement.worker.queues[0] in objectives] or plan.placed
        return min(fitting, key=lambda placement: sum(place.sized.slots for place in plan.roles[placement.role]))
    # Where others go on: the role with most machines.
    return max(plan.placed, key=lambda placement: len(plan.roles[placement.role]))


def unfit(scenario: Scenario, fleet: Fleet) -> str:
    """Why a scenario means nothing for the broker of a fleet; empty if it does."""
    if scenario.at == "broker" or (scenario.fault and FAULTS[scenario.fault].at == "broker"):
        if fleet.broker_host is None:
            return "the broker is not this fleet's"
        if scenario.name == "broker-away" and len(fleet.broker_hosts) > 1:
            return "the broker has several nodes: while one is away, the others go on"
    if scenario.name == "queue-old" and fleet.transport == "amqp":
        return "RabbitMQ does not say how long tasks wait, so QueueTooOld never fires"
    return ""


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
