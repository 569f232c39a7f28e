"""`fleet drill alarms`: which alerts each fault sets off, and how soon. A clean restart of all workers sets off none.

A fault ends as soon as its alerts have been sent. It is a transient unit, with which systemd ends it if the drill is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fleet.drill import faults, recovery, scenarios
from fleet.drill.broker import service_of
from fleet.drill.context import DrillContext
from fleet.drill.errors import DrillError
from fleet.drill.fault import affected_by
from fleet.drill.faults import FAULTS
from fleet.drill.injection import inject
from fleet.drill.runs import Runs
from fleet.drill.scenarios import WITHIN, Place, Result, Scenario
from fleet.drill.watch import Alert, Watch

LONGEST_FOR = 360.0
"""Seconds that are longer than the `for` of any alert that a drill sets off."""
QUIET = 45.0
"""Seconds, three evaluations, in which nothing new fires before a fault counts as over."""
SETTLE = 300.0
"""Seconds to wait until nothing is about to fire."""
LONG_TASK = 30.0
"""Seconds of each task that fills a queue."""
STARTS = "max(changes(fleet_worker_start_time_seconds[15m]))"
"""The most starts of a worker in the time that CapacityLost looks back."""
FAILING_AT_ONCE = 5
"""Tasks that fail, every two seconds: within half a minute they are a twentieth of the load of ten minutes."""
UNKNOWN_TASK = "fleet.drill.unknown"
"""A task that no worker has."""


class Drill:
    """Does scenarios one after the other."""

    def __init__(self, context: DrillContext, runs: Runs, watch: Watch) -> None:
        self._context, self._runs, self._watch, self._now = context, runs, watch, watch.now
        self._workers = context.workers()

    def wait_for_earlier_starts(self, planned: Iterable[Scenario]) -> None:
        """Wait until nobody has started a worker for 15 minutes: those starts would count with this drill's own."""
        if not any(scenario.name in scenarios.RESTARTING for scenario in planned):
            return
        if self._watch.number(STARTS):
            self._context.say("workers were started within the last 15 minutes: waiting until that is over …")
            self._watch.wait(lambda: not self._watch.number(STARTS), 16 * 60, self._context.producer.check)

    def run(self, scenario: Scenario) -> Result:
        """Do one: wait until all is quiet, do it, wait for its alerts, end it, wait until all is quiet. Raises DrillError."""
        context, watch = self._context, self._watch
        if reason := scenarios.unfit(scenario, context.plan.fleet):
            return Result(scenario.name, scenario.action, scenario.at, 0, scenario.alerts, skipped=reason)
        place = self._place(scenario)
        fleet = context.plan.fleet
        where = {"unit": str(place.worker), "broker": fleet.broker_host, "monitor": fleet.monitor_host}.get(scenario.at) or "all"
        alerts, may = scenarios.expected(scenario, context.plan, place)
        objective = fleet.settings.slo.get(place.queue)
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
            self._begin(scenario, place, all_fired)
            if alerts:
                watch.wait(all_fired, after + LONGEST_FOR + 2 * WITHIN, context.producer.check)
        finally:
            self._end(scenario, place)
        self._quiet()
        done = scenarios.result(scenario, where, began, self._now(), new(), (alerts, may), after)
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
        placement = scenarios.choose(scenario, self._context.plan)
        worker = next(
            worker
            for worker in self._workers
            if worker.host == placement.host and worker.unit.startswith(f"celery-{placement.role}@")
        )
        return Place(worker, placement, service_of(self._context.plan.fleet))

    def _machine(self, scenario: Scenario, place: Place) -> str:
        """The host of a scenario's commands."""
        fleet = self._context.plan.fleet
        return {"broker": fleet.broker_host, "monitor": fleet.monitor_host}.get(scenario.at) or place.worker.host

    def _begin(self, scenario: Scenario, place: Place, all_fired: Callable[[], bool]) -> None:
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
            self._watch.wait(all_fired, 600, lambda: self._fail(place))
        elif scenario.name == "queue-old":
            slots = sum(placement.sized.slots for placement in context.plan.roles[place.placement.role])
            for _ in range(slots * int(420 / LONG_TASK) + slots):
                producer.send_aside("long", LONG_TASK, place.queue)
        else:
            assert scenario.begin and scenario.end  # noqa: S101 - the others are done here
            fault_unit = faults.for_a_while(scenario.begin(place), scenario.end(place), scenarios.LONGEST)
            context.ask(self._machine(scenario, place), fault_unit)
            if scenario.name == "ghost":
                producer.stop_consuming(place.worker.node, place.placement.worker.queues)

    def _fail(self, place: Place) -> None:
        """Send tasks that fail: enough to be a share of those that do not."""
        for _ in range(FAILING_AT_ONCE):
            self._context.producer.send_aside("fail", 0.0, place.queue)
        self._context.producer.send_for(2)

    def _end(self, scenario: Scenario, place: Place) -> None:
        context = self._context
        if scenario.begin:
            context.ask(self._machine(scenario, place), f"systemctl stop {faults.UNIT} 2>/dev/null || true")
        if scenario.name == "dead-letter":
            with context.broker() as broker:
                broker.drop([letter for letter in broker.letters() if letter["task"] == UNKNOWN_TASK])
        if scenario.name == "queue-old":
            context.say("waiting until what fills the queue is done …")
            self._watch.wait(lambda: not self._length(place.queue), 600)

    def _length(self, queue: str) -> int:
        with self._context.broker() as broker:
            return broker.length(queue)
