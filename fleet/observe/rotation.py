"""Who has the new value of a secret that changes.

What a machine has is compared with what each of the two values would make there. Redis knows for how long its clients are
connected, and not with which password. RabbitMQ knows that: each password has a user of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from fleet.broker import connect
from fleet.broker.management import Management
from fleet.errors import FleetError
from fleet.inventory.read import read_inventory
from fleet.observe import drift
from fleet.observe.collect import AT_ONCE
from fleet.observe.drift import View
from fleet.observe.status import probe
from fleet.plan.plan import resolved
from fleet.spec import certificates, endpoint, secrets
from fleet.spec.fleet import Fleet, Host, Inventory
from fleet.spec.load import load_fleet
from fleet.spec.rabbitmq import account
from fleet.spec.secrets import BEFORE
from fleet.spec.text import count
from fleet.state import observed
from fleet.state.desired import State
from fleet.state.observed import ObservedMachine
from fleet.state.role import Role, watched

PATIENCE = 10.0
"""Seconds for the broker to answer."""
NEW, OLD = "new", "before"


@dataclass(frozen=True)
class Holders:
    """Who has which value of a secret. machines: host → NEW, OLD, or why that is not known, of those that get it. old, other:
    who is connected to the broker with it → connections that have the value before for certain, and of which that is not known;
    machines of the fleet are not among the others. problems: what could not be looked at, or has to be done first."""

    machines: Mapping[str, str] = field(default_factory=dict)
    old: Mapping[str, int] = field(default_factory=dict)
    other: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def hindrances(self) -> list[str]:
        """Why the value before cannot go yet, a line each."""
        lines = [f"{host} has the value before: deploy" for host, value in self.machines.items() if value == OLD]
        lines += [f"{host}: {value}" for host, value in self.machines.items() if value not in (NEW, OLD)]
        lines += [
            f"{client} is connected with the value before ({count(number, 'connection')})" for client, number in self.old.items()
        ]
        return [*lines, *self.problems]

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "machines": dict(self.machines),
            "connections_before": dict(self.old),
            "connections_unknown": dict(self.other),
            "problems": list(self.problems),
        }


def look(file: Path, name: str, now: datetime | None = None) -> Holders:
    """Ask all machines, and the broker if it is ours and knows this secret. name: of a secret whose rotation is under way. Raises
    SpecError, SecretsError and CertificateError."""
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    path = Path(fleet.settings.secrets_file)
    known = secrets.read(path)
    secrets.require(path, known, fleet.secrets)
    secrets.require_rotation(path, known, name)
    roles = drift.roles_of_project()
    command = observed.command(watched(roles))
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        hosts = inventory.hosts
        answers = dict(zip(hosts, pool.map(lambda host: probe(host, hosts[host], command), hosts), strict=True))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    machines = {host: answer for host, answer in answers.items() if isinstance(answer, ObservedMachine)}
    plan = resolved(fleet, {host: machine.facts for host, machine in machines.items()})
    view = View(fleet, plan, known, machines, certificates.read(fleet))
    holders = Holders({**machines_with(view, roles, name), **_silent(answers)})
    if fleet.own_broker is None or name not in endpoint.USERS.values():
        return holders
    return _with_connections(holders, inventory, fleet, known, name, now or datetime.now(UTC))


def machines_with(view: View, roles: Iterable[Role], name: str) -> dict[str, str]:
    """Host → the value that it has, NEW or OLD, or why that is not known; of those hosts that get the secret."""
    known = view.secrets
    before = replace(view, secrets={**known, name: known[name + BEFORE], name + BEFORE: known[name]})
    roles = tuple(roles)
    values = {}
    for host in view.observed:
        try:
            new, old = (_desired(each, roles, view.fleet.hosts[host]) for each in (view, before))
        except FleetError as error:
            values[host] = str(error)
            continue
        if value := value_on(new, old, view.observed[host]):
            values[host] = value
    return values


def value_on(new: State, old: State, machine: ObservedMachine) -> str:
    """Which of two values of a secret a machine has: NEW, OLD, or why that is not known; empty if it gets none. new, old: the
    states that they make. Files and processes count: a process has what its file had when it started."""
    outcomes = []
    for file, other in zip(new.files, old.files, strict=True):
        if file.content != other.content and "/systemd/system/" not in file.path:
            there = machine.paths.get(file.path)
            outcomes.append((file.path, _which(there.digest if there else None, file.digest, other.digest)))
    for unit, of_old in zip(new.units, old.units, strict=True):
        running = machine.units.get(unit.name)
        if unit.revision != of_old.revision and running and running.active:
            outcomes.append((unit.name, _which(running.revision, unit.revision, of_old.revision)))
    if any(outcome == OLD for _, outcome in outcomes):
        return OLD
    if unclear := [what for what, outcome in outcomes if not outcome]:
        return f"{', '.join(unclear)} differs from what your files say: deploy"
    return NEW if outcomes else ""


def _which(there: str | None, new: str | None, old: str | None) -> str:
    return NEW if there == new else OLD if there == old else ""


def _desired(view: View, roles: Iterable[Role], host: Host) -> State:
    return sum((role.desired(view, host) for role in roles), State())


def _silent(answers: Mapping[str, ObservedMachine | str]) -> dict[str, str]:
    return {host: f"not known: {answer}" for host, answer in answers.items() if isinstance(answer, str)}


def _with_connections(
    holders: Holders, inventory: Inventory, fleet: Fleet, known: Mapping[str, str], name: str, now: datetime
) -> Holders:
    user = next(user for user, password in endpoint.USERS.items() if password == name)
    try:
        with connect.reached(inventory.hosts, fleet, known) as way:
            if name in way.passwords:
                return replace(holders, problems=(f"{fleet.broker_name} does not accept the new value yet: deploy",))
            monitor = endpoint.broker(fleet, known, "monitor", way=way)
            with connect.management(inventory.hosts, fleet, monitor) as api:
                clients = of_rabbitmq(api) if api else _of_redis(monitor.url)
    except (FleetError, RedisError, OSError) as error:
        return replace(holders, problems=(f"{fleet.broker_name} was not asked who is connected: {error}",))
    addresses = {host.settings.lan_address: host.name for host in fleet.hosts.values() if host.settings.lan_address}
    # What connects through SSH, such as fleet top, comes from the broker's own machine.
    addresses |= dict.fromkeys(("127.0.0.1", "::1"), fleet.broker_name)
    if fleet.rabbitmq:
        return replace(holders, old=connections(clients, account(user, known[name + BEFORE]).name, addresses, 0)[0])
    since = secrets.since(known, name)
    seconds = (now - since).total_seconds() if since else None
    old, other = connections(clients, user, addresses, seconds)
    if seconds is None:
        return replace(holders, old=old, other=other, problems=(f"{name}{secrets.SINCE} is missing, or no time",))
    return replace(holders, old=old, other=other)


def _of_redis(url: str) -> list[Mapping[str, Any]]:
    with Redis.from_url(url, decode_responses=True, encoding_errors="replace", socket_timeout=PATIENCE) as client:
        return list(client.client_list())


def of_rabbitmq(api: Management) -> list[Mapping[str, Any]]:
    """RabbitMQ's connections as CLIENT LIST of Redis has them. How old they are does not matter. Raises OSError."""
    known = api.get("connections?columns=user,peer_host,peer_port")
    return [{"user": of.get("user"), "addr": f"{of.get('peer_host')}:{of.get('peer_port')}", "age": 1} for of in known]


def connections(
    clients: Iterable[Mapping[str, Any]], user: str, machines: Mapping[str, str], seconds: float | None
) -> tuple[dict[str, int], dict[str, int]]:
    """(connections from before the new value, other connections), each by who it is. clients: of CLIENT LIST. machines: address →
    the fleet's machine there. seconds: the age of the new value."""
    old: Counter[str] = Counter()
    other: Counter[str] = Counter()
    for client in clients:
        if client.get("user") != user:
            continue
        address = str(client.get("addr", "")).rpartition(":")[0].strip("[]")
        who = machines.get(address) or address
        if seconds is not None and float(client["age"]) > seconds:
            old[who] += 1
        elif address not in machines:
            other[who] += 1
    return dict(old), dict(other)
