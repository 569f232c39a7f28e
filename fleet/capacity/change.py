"""`--what-if`: the same fleet with another concurrency, more machines, other machines, or more tasks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from fleet.capacity.assumption import fields_of, number_of
from fleet.capacity.need import NeedError
from fleet.plan.facts import MachineFacts
from fleet.plan.plan import Plan, resolved
from fleet.spec.fleet import Host
from fleet.spec.sizes import parse_size

EXAMPLE = "concurrency=16, machines=3, growth=2 or cores=16,memory=64G"
OPTION = "--what-if"
WITHOUT_FLEET = ("concurrency", "prefetch", "growth")
NAMES = (*WITHOUT_FLEET, "machines", "cores", "memory")
MOST_MACHINES = 1000


@dataclass(frozen=True)
class Change:
    """What would be otherwise. text: as the user wrote it. growth: by which the rate is multiplied. machines: that have the role.
    cores, memory (bytes): of each of them. None: as it is."""

    text: str
    concurrency: int | None = None
    prefetch: int | None = None
    growth: float = 1.0
    machines: int | None = None
    cores: int | None = None
    memory: int | None = None

    @property
    def is_of_load(self) -> bool:
        """Whether the workers stay as they are."""
        return all(getattr(self, name) is None for name in NAMES if name != "growth")


def parse(text: str, has_fleet: bool) -> Change:
    """Raises NeedError that says what to write."""
    fields = fields_of(OPTION, text, NAMES, EXAMPLE)
    if not has_fleet and (of_fleet := [name for name in fields if name not in WITHOUT_FLEET]):
        raise NeedError(f"{OPTION} {text}: {of_fleet[0]} needs an inventory, whose roles are sized for it")
    whole = {name: _whole(text, name, value) for name, value in fields.items() if name not in ("growth", "memory")}
    memory = None
    if "memory" in fields:
        try:
            memory = parse_size(fields["memory"])
        except ValueError as error:
            raise NeedError(f"{OPTION} {text}: memory={fields['memory']}: {error}") from None
    growth = number_of(OPTION, text, "growth", fields.get("growth", "1"))
    if not growth:
        raise NeedError(f"{OPTION} {text}: growth=0, and then nothing comes")
    return Change(text, growth=growth, memory=memory, **whole)


def _whole(text: str, name: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise NeedError(f"{OPTION} {text}: {name}={value} is no whole number from 1 on")
    if name == "machines" and int(value) > MOST_MACHINES:
        raise NeedError(f"{OPTION} {text}: a fleet has {MOST_MACHINES} machines at most")
    return int(value)


def changed(plan: Plan, change: Change, roles: Collection[str]) -> Plan:
    """The plan as it would be. roles: that the change is of."""
    hosts, machines = dict(plan.fleet.hosts), dict(plan.machines)
    places = [name for name, host in hosts.items() if set(host.workers) & set(roles) and name in machines]
    if change.machines is not None and places:
        for name in places[change.machines :]:
            workers = {role: worker for role, worker in hosts[name].workers.items() if role not in roles}
            hosts[name] = replace(hosts[name], workers=workers)
        for name in islice(_names(hosts), max(0, change.machines - len(places))):
            hosts[name] = replace(hosts[places[-1]], name=name)
            machines[name] = machines[places[-1]]
    for name, host in hosts.items():
        if set(host.workers) & set(roles):
            hosts[name] = _with_settings(host, change, roles)
            if name in machines:
                machines[name] = _with_size(machines[name], change)
    return resolved(replace(plan.fleet, hosts=hosts), machines)


def _names(hosts: Collection[str]) -> Iterator[str]:
    """Names for machines that are not there."""
    number = 0
    while True:
        number += 1
        if (name := f"new{number}") not in hosts:
            yield name


def _with_settings(host: Host, change: Change, roles: Collection[str]) -> Host:
    given = {name: value for name in ("concurrency", "prefetch") if (value := getattr(change, name)) is not None}
    workers = {
        role: worker.model_copy(update=given) if given and role in roles else worker for role, worker in host.workers.items()
    }
    return replace(host, workers=workers)


def _with_size(machine: MachineFacts, change: Change) -> MachineFacts:
    return replace(machine, cores=change.cores or machine.cores, memory=change.memory or machine.memory)
