"""Asks all machines and the broker of a fleet at once."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.broker import connect
from fleet.broker.port import AwayError
from fleet.errors import FleetError
from fleet.inventory import last_facts, ssh
from fleet.inventory.ask import answer
from fleet.inventory.read import read_inventory
from fleet.observe import broker as asking
from fleet.observe import machine
from fleet.observe.broker import BrokerReport, Expected
from fleet.observe.machine import Machine
from fleet.plan.plan import Plan, resolved
from fleet.spec import endpoint
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet

AT_ONCE = 64
CONNECT_SECONDS = 5
"""Seconds for SSH to connect to a machine: who looks at a fleet does not wait for long."""
PATIENCE = 15.0
"""Seconds for a machine's whole answer."""


class ObserveError(FleetError):
    """Nothing of the fleet could be looked at."""

    exit_code = 2


@dataclass(frozen=True)
class Collected:
    """What all have said. secrets: of the fleet. silent: host → why it did not answer."""

    inventory: Inventory
    secrets: Mapping[str, str]
    plan: Plan
    machines: Mapping[str, Machine]
    silent: Mapping[str, str]
    broker: BrokerReport


@dataclass(frozen=True)
class Survey:
    """A fleet, and what is known of its machines otherwise than over SSH: of those that were not asked, nothing."""

    inventory: Inventory
    plan: Plan
    machines: Mapping[str, Machine]

    @property
    def expected(self) -> Expected:
        """What the broker is asked for."""
        return asking.expected_of(self.plan, {host: machine.hostname for host, machine in self.machines.items()})


def completed(survey: Survey) -> Collected:
    """A survey with what the broker says. Raises SecretsError."""
    passwords = endpoint.broker_secrets(survey.plan.fleet)
    broker = ask_broker(survey.inventory, survey.plan.fleet, passwords, survey.expected)
    return Collected(survey.inventory, passwords, survey.plan, survey.machines, {}, broker)


def collect(file: Path) -> Collected:
    """Ask. Raises SpecError and SecretsError, and ObserveError if no machine answers and no facts of any are kept."""
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    passwords = endpoint.broker_secrets(fleet)
    last, _ = last_facts.read(file)
    expected = asking.expected_of(resolved(fleet, last.completed({}, fleet.hosts)))
    with_workers = [host for host in fleet.hosts.values() if host.workers]
    command = machine.command(endpoint.broker(fleet, passwords))
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        asked = pool.submit(ask_broker, inventory, fleet, passwords, expected)
        answers = dict(
            zip(
                (host.name for host in with_workers),
                pool.map(lambda host: ask_machine(host.name, inventory.hosts[host.name], command), with_workers),
                strict=True,
            )
        )
        broker = asked.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    machines = {host: observed for host, observed in answers.items() if isinstance(observed, Machine)}
    silent = {host: reason for host, reason in answers.items() if isinstance(reason, str)}
    now = {host: observed.facts for host, observed in machines.items()}
    facts = last.completed(now, silent)
    if not facts and not broker.is_there:
        raise ObserveError("\n".join([broker.problem, *(f"{host}: {why}" for host, why in silent.items())]))
    last_facts.keep(file, now, fleet.hosts)
    return Collected(inventory, passwords, resolved(fleet, facts), machines, silent, broker)


def ask_machine(host: str, data: Mapping[str, Any], command: str) -> Machine | str:
    """What a machine says, or why it does not."""
    return answer(host, data, ssh.as_root(data, command), machine.parse, PATIENCE, CONNECT_SECONDS)


def ask_broker(inventory: Inventory, fleet: Fleet, passwords: Mapping[str, str], expected: Expected) -> BrokerReport:
    """What the broker says, through SSH. That it cannot be reached is a problem in the report."""
    try:
        with connect.session(inventory.hosts, fleet, passwords) as port:
            return asking.ask(port, fleet.settings.lease, expected)
    except AwayError as error:
        return asking.absent(asking.away(error))
    except FleetError as error:
        return asking.absent(asking.unreached(fleet, error))
