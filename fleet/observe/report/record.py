"""Samples a fleet again and again into a file (`fleet.observe.report.recording`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleet.broker import connect
from fleet.broker.ages import QueueAge
from fleet.broker.port import Port
from fleet.errors import FleetError
from fleet.inventory import last_facts
from fleet.inventory.read import read_inventory
from fleet.observe import machine
from fleet.observe.broker import expected_of
from fleet.observe.collect import AT_ONCE, ask_machine
from fleet.observe.machine import Machine
from fleet.observe.queues import Sample, queues_of
from fleet.observe.report.recording_file import RecordingFile
from fleet.observe.report.sample import entry_of
from fleet.observe.sampling import sample
from fleet.plan.plan import Plan, resolved
from fleet.spec import endpoint
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet

MACHINES_EVERY = 60.0
"""Seconds between two looks at the machines, and at queues that nobody consumes."""


@dataclass
class Sampler:
    """Looks at one fleet again and again. before: the last sample. machines: as they were last seen. strays: queues that nobody
    consumes, as they were last seen."""

    inventory: Inventory
    fleet: Fleet
    plan: Plan
    passwords: Mapping[str, str]
    machines_every: float = MACHINES_EVERY
    before: Sample | None = None
    machines: dict[str, Machine] = field(default_factory=dict)
    strays: Mapping[str, QueueAge] = field(default_factory=dict)
    _looked: float = float("-inf")
    _asked: dict[str, Future[Machine | str]] = field(default_factory=dict)
    _connection: Generator[Port, None, None] | None = None

    @property
    def name(self) -> str:
        """What tells the fleet from others."""
        broker = self.fleet.broker_netloc if self.fleet.own_broker else self.fleet.broker_name
        return f"{self.fleet.records_host} {broker} {self.fleet.settings.celery_app}"

    def look(self, pool: ThreadPoolExecutor) -> dict[str, Any]:
        """A line of the recording. pool: in which machines are asked: their answers are in a later line."""
        is_due = time.monotonic() - self._looked >= self.machines_every
        if is_due and not self._asked:
            self._ask_machines(pool)
        try:
            if self._connection is None:
                self._connection = self._connections()
            now = self._sample(self._connection, is_due)
        except FleetError as error:
            self._connection = self.before = None  # its SSH may be gone too
            return {"t": round(time.time(), 1), "away": str(error)[:500]}
        now = replace(now, ages={**self.strays, **now.ages})
        answered = self._answered()
        queues = queues_of(self.plan, self.before, now)
        entry = entry_of(time.time(), self.plan, queues, self.before, now, self.machines, answered)
        self.before = now
        return entry

    def _ask_machines(self, pool: ThreadPoolExecutor) -> None:
        self._looked = time.monotonic()
        command = machine.command(endpoint.broker(self.fleet, self.passwords))
        self._asked = {
            host.name: pool.submit(ask_machine, host.name, self.inventory.hosts[host.name], command)
            for host in self.fleet.hosts.values()
            if host.workers
        }

    def _answered(self) -> dict[str, Machine] | None:
        """The machines that were asked, once all have answered or not."""
        if not self._asked or not all(future.done() for future in self._asked.values()):
            return None
        answers = {host: future.result() for host, future in self._asked.items()}
        self._asked = {}
        answered = {host: answer for host, answer in answers.items() if isinstance(answer, Machine)}
        self.machines |= answered
        self.plan = resolved(self.fleet, {**self.plan.machines, **{host: of.facts for host, of in answered.items()}})
        return answered

    def _sample(self, connection: Generator[Port, None, None], with_strays: bool) -> Sample:
        """The broker now. Raises FleetError, after which the connection is of no use any more."""
        try:
            port = next(connection)
            now = sample(port, self.fleet.settings.lease, expected_of(self.plan))
            if with_strays:
                self.strays = port.unconsumed(set(now.ages))
            return now
        except FleetError:
            raise
        except Exception as error:  # of the broker's client: the connection explains it
            connection.throw(error)
            raise

    def _connections(self) -> Generator[Port, None, None]:
        """One connection to the broker, through one SSH, as often as it is asked for."""
        with connect.session(self.inventory.hosts, self.fleet, self.passwords) as port:
            while True:
                yield port


def sampler(file: Path) -> Sampler:
    """Of an inventory. Raises SpecError and SecretsError."""
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    passwords = endpoint.broker_secrets(fleet)
    last, _ = last_facts.read(file)
    return Sampler(inventory, fleet, resolved(fleet, last.completed({}, fleet.hosts)), passwords)


def record(
    of: Sampler, file: RecordingFile, interval: float, seconds: float | None, on_sample: Callable[[Mapping[str, Any]], None]
) -> None:
    """Sample every `interval` seconds, for `seconds`, or until it is interrupted. That the broker is away is a sample too."""
    pool = ThreadPoolExecutor(AT_ONCE)
    begin = time.monotonic()
    due = 0.0
    try:
        while seconds is None or due <= seconds:
            time.sleep(max(0.0, begin + due - time.monotonic()))
            entry = of.look(pool)
            file.append(entry)
            on_sample(entry)
            passed = time.monotonic() - begin
            due = (passed // interval + 1) * interval  # a look that took long leaves out those that were due meanwhile
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
