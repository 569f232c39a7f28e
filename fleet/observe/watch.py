"""Keeps on looking at a fleet, in threads: the broker through one connection, each machine through one of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleet.broker import connect
from fleet.broker.port import PATIENCE, AwayError, Port
from fleet.errors import FleetError
from fleet.inventory import last_facts
from fleet.inventory.connections import AGAIN, Connections
from fleet.inventory.read import read_inventory
from fleet.inventory.ssh import as_root
from fleet.observe import broker as asking
from fleet.observe import drift, machine, sampling
from fleet.observe.broker import BrokerReport
from fleet.observe.collect import Survey
from fleet.observe.machine import Machine
from fleet.observe.queues import Sample
from fleet.observe.records import parse_records, records_command
from fleet.observe.rows import Drift
from fleet.observe.status import drifts
from fleet.observe.top import Reading
from fleet.plan.plan import resolved
from fleet.spec import endpoint
from fleet.spec.load import load_fleet
from fleet.state import observed
from fleet.state.observed import ObservedMachine
from fleet.state.role import watched

MACHINES_EVERY, RECORDS_EVERY, DRIFT_EVERY, UNCONSUMED_EVERY = 5.0, 2.0, 60.0, 30.0
"""Seconds between two looks at machines, at the runs, at drift, and for queues that nobody consumes."""
RATE_SECONDS = 10.0
"""Seconds over which rates are measured."""
DRIFT_LATEST = 20.0
"""Seconds after which drift is looked for although not all have answered yet."""
DRIFT_PATIENCE = 60.0
"""Seconds for a machine to say what is on it."""
LATE = 20.0
"""Seconds after which a machine that has not answered again counts as silent."""
NO_RECORDS = "a cluster keeps them itself: kubectl rollout history"


class Watch:
    """A look at a fleet that goes on. `reading` is what was last learnt; it asks nobody, and never waits.

    inventory, fleet, secrets: as they were when the program started.
    """

    def __init__(self, file: Path, interval: float, survey: Callable[[], Survey] | None = None) -> None:
        """Read the settings. interval: seconds between two looks at the broker. survey: asks for all machines at once, in place
        of SSH; there are no records then, and no drift. Raises SpecError and SecretsError, and what survey raises."""
        self.file, self._interval, self._survey = file, interval, survey
        if survey:
            known = survey()
            self.inventory, self.fleet = known.inventory, known.plan.fleet
            self._reading = Reading(known.plan, interval=interval, records_problem=NO_RECORDS, drift_problem=NO_RECORDS)
        else:
            self.inventory = read_inventory(file)
            self.fleet = load_fleet(self.inventory)
            self._facts = last_facts.read(file)[0]
            self._reading = Reading(resolved(self.fleet, self._facts.completed({}, self.fleet.hosts)), interval=interval)
        self.secrets = endpoint.broker_secrets(self.fleet)
        self.url = ""
        """Of the broker with the worker's user, while it can be reached; empty if not."""
        self.connections = Connections()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._machines: dict[str, tuple[float, Machine]] = {}
        self._silent: dict[str, str] = {}
        self._answered: dict[str, float] = {}
        self._at: dict[str, float] = {}
        self._samples: deque[Sample] = deque()
        self._unconsumed: tuple[float, Mapping[str, Any]] = (float("-inf"), {})

    @property
    def records(self) -> tuple[str, Mapping[str, Any]]:
        """The host of lock and history, and its data in the inventory."""
        return self.fleet.records_host, self.inventory.hosts[self.fleet.records_host]

    @property
    def _with_workers(self) -> list[str]:
        return [host.name for host in self.fleet.hosts.values() if host.workers]

    @property
    def _has_looked(self) -> bool:
        """Whether the broker and all machines with workers have answered, or failed to."""
        with self._lock:
            broker = self._reading.broker or self._reading.broker_problem
            return bool(broker) and {*self._with_workers} <= {*self._machines, *self._silent}

    def start(self) -> None:
        """Begin to look."""
        if self._survey:
            self._thread(self._watch_survey, self._survey)
            self._thread(self._watch_broker)
            return
        ask = machine.command(endpoint.broker(self.fleet, self.secrets))
        for host in self._with_workers:
            self._thread(self._watch_machine, host, ask)
        for look in (self._watch_broker, self._watch_records, self._watch_drift):
            self._thread(look)

    def close(self) -> None:
        """End all connections and threads."""
        self.connections.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def reading(self) -> Reading:
        """What was last learnt, with its age now."""
        now = time.monotonic()
        with self._lock:
            ages = {host: now - at for host, (at, _) in self._machines.items()}
            silent = {
                **{host: f"no answer for {age:.0f} s" for host, age in ages.items() if age > LATE},
                **{host: why for host, why in self._silent.items() if ages.get(host, LATE) >= MACHINES_EVERY},
            }
            return replace(
                self._reading,
                machines={host: found for host, (_, found) in self._machines.items() if host not in silent},
                ages=ages,
                silent=silent,
                answered={node: now - at for node, at in self._answered.items()},
                broker_age=self._age("broker", now),
                records_age=self._age("records", now),
                drift_age=self._age("drift", now),
            )

    def _age(self, name: str, now: float) -> float | None:
        return now - self._at[name] if name in self._at else None

    def _thread(self, look: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=look, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _learn(self, name: str = "", **changes: Any) -> None:
        with self._lock:
            self._reading = replace(self._reading, **changes)
            if name:
                self._at[name] = time.monotonic()

    def _watch_machine(self, host: str, command: str) -> None:
        def learn(lines: list[str]) -> None:
            try:
                found = machine.parse(lines)
            except ValueError as error:
                be_silent(str(error))
                return
            with self._lock:
                known = self._machines.get(host)
                self._machines[host] = (time.monotonic(), found)
                self._silent.pop(host, None)
                if known is None or known[1].facts != found.facts:
                    facts = self._facts.completed(
                        {name: of.facts for name, (_, of) in self._machines.items()}, self._with_workers
                    )
                    self._reading = replace(self._reading, plan=resolved(self.fleet, facts))

        def be_silent(why: str) -> None:
            with self._lock:
                self._silent[host] = why

        self.connections.repeat(host, self.inventory.hosts[host], command, MACHINES_EVERY, learn, be_silent)

    def _watch_survey(self, survey: Callable[[], Survey]) -> None:
        while not self.connections.is_closed:
            try:
                known = survey()
                now = time.monotonic()
                with self._lock:
                    self.inventory, self.fleet = known.inventory, known.plan.fleet
                    self._machines = {host: (now, found) for host, found in known.machines.items()}
                    self._silent = {}
                    self._reading = replace(self._reading, plan=known.plan)
            except FleetError as error:
                with self._lock:
                    self._silent = dict.fromkeys(self._machines, str(error))
            self.connections.wait(MACHINES_EVERY)

    def _watch_broker(self) -> None:
        while not self.connections.is_closed:
            try:
                with connect.session(self.inventory.hosts, self.fleet, self.secrets, self.connections.add) as port:
                    self._through(port)
            except AwayError as error:
                self._learn(broker_problem=asking.away(error))
            except FleetError as error:
                self._learn(broker_problem=asking.unreached(self.fleet, error))
            self.url = ""
            self.connections.wait(min(AGAIN, self._interval))

    def _through(self, port: Port) -> None:
        """Look at the broker as long as it answers. Raises what becomes an AwayError."""
        while not self.connections.is_closed:
            began = time.monotonic()
            report, sample = self._ask(port)
            self.url = port.url
            with self._lock:
                self._answered |= dict.fromkeys(sample.answers, time.monotonic())
            self._samples.append(sample)
            while len(self._samples) > 2 and self._samples[1].at <= sample.at - RATE_SECONDS:
                self._samples.popleft()
            before = self._samples[0] if len(self._samples) > 1 else None
            self._learn("broker", broker=report, sample=sample, before=before, broker_problem="")
            self.connections.wait(max(0.1, self._interval - (time.monotonic() - began)))

    def _ask(self, port: Port) -> tuple[BrokerReport, Sample]:
        lease = self.fleet.settings.lease
        with self._lock:
            plan, machines = self._reading.plan, dict(self._machines)
        expected = asking.expected_of(plan, {host: found.hostname for host, (_, found) in machines.items()})
        sample = sampling.sample(port, lease, expected)
        health = port.health()
        if time.monotonic() - self._unconsumed[0] > UNCONSUMED_EVERY:
            self._unconsumed = (time.monotonic(), port.unconsumed(set(sample.ages)))
        others = {queue: age for queue, age in self._unconsumed[1].items() if queue not in sample.ages}
        report = BrokerReport(
            answers=sample.answers,
            signs=sample.signs,
            renewed=sample.renewed,
            connected=health.connected,
            present=sample.present,
            waiting={queue: sum(age.waiting.values()) for queue, age in sample.ages.items()},
            problem=health.problem or sample.problem,
            unknown=port.unknown,
        )
        return report, replace(sample, ages={**others, **sample.ages})

    def _watch_records(self) -> None:
        def learn(lines: list[str]) -> None:
            self._learn("records", records=parse_records(lines), records_problem="")

        host, data = self.records
        self.connections.repeat(host, data, records_command(), RECORDS_EVERY, learn, lambda why: self._learn(records_problem=why))

    def _watch_drift(self) -> None:
        try:
            roles = drift.roles_of_project()
        except FleetError as error:
            self._learn(drift_problem=str(error))
            return
        command = observed.command(watched(roles))
        # It costs machines the most, and is the least urgent: what is asked every few seconds comes first.
        began = time.monotonic()
        while not self._has_looked and time.monotonic() - began < DRIFT_LATEST and not self.connections.is_closed:
            self.connections.wait(0.2)
        while not self.connections.is_closed:
            machines: dict[str, ObservedMachine] = {}
            unknown: dict[str, str] = {}
            with ThreadPoolExecutor(16) as pool:
                hosts = self.inventory.hosts
                answers = pool.map(lambda host: self._probe(host, command), hosts)
                for host, answer in zip(hosts, answers, strict=True):
                    if isinstance(answer, str):
                        unknown[host] = answer
                    else:
                        machines[host] = answer
            if self.connections.is_closed:
                return
            try:
                with self._lock:
                    plan = self._reading.plan
                differing, unclear = drifts(
                    plan, self.secrets, machines, lambda view, host: drift.drift_of(view, roles, view.fleet.hosts[host])
                )
                found = Drift(differing, {**unknown, **unclear}, len(hosts))
                self._learn("drift", drift=found, drift_problem="")
            except (FleetError, OSError) as error:
                self._learn(drift_problem=str(error))
            self.connections.wait(DRIFT_EVERY)

    def _probe(self, host: str, command: str) -> ObservedMachine | str:
        data = self.inventory.hosts[host]
        lines, complaint = self.connections.run(host, data, as_root(data, command), DRIFT_PATIENCE)
        try:
            return observed.parse(lines)
        except ValueError as error:
            return complaint or str(error)
