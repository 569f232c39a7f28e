"""Mistakes in an inventory's groups, and in the names that group data sets."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fleet.spec.beat import Beat
from fleet.spec.broker import kind_of
from fleet.spec.fleet import Host, Inventory
from fleet.spec.mistakes import unknown_setting
from fleet.spec.monitor import Monitor
from fleet.spec.settings import Settings
from fleet.spec.text import did_you_mean, enumerate_briefly

BROKER = "broker"
"""The group of the broker's host, and the name of the broker's settings."""

MONITOR = "monitor"
"""The same of the monitor. The group may be empty, or not there."""

BEAT = "beat"
"""The same of beat. The group may have several hosts, be empty, or not be there."""

WORKER_SUFFIX = "_worker"
"""A group with the setting `<group>_worker` is a worker role."""

OVERRIDES = ("discard_tasks", "abandon_queues", "leave_workers")
"""Names by which a single run is told to go on in spite of what it finds. The history keeps them."""
RUN_ARGUMENTS = ("role", "release", *OVERRIDES)
"""Names that a single run takes by --data. They are no settings."""

FLEET_WIDE = (
    "hooks",
    "lease",
    "visibility_timeout",
    "database_max_connections",
    "lint_ignore",
    "records_host",
    "result_backend",
    "secrets_file",
    "slo",
)
"""Settings that have to be the same on every host."""

# Group data that pyinfra itself reads: global arguments and connector settings.
_PYINFRA_PREFIXES = ("_", "ssh_", "fake_", "local_")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def group_mistakes(inventory: Inventory) -> Iterable[str]:
    """A number of brokers other than one, groups without data, and a fleet without workers."""
    yield from _broker_mistakes(inventory)
    if len(monitors := inventory.groups.get(MONITOR, ())) > 1:
        yield f"the group {MONITOR} of the inventory: found {len(monitors)} ({', '.join(monitors)}); it has one host at most"
    for group, hosts in inventory.groups.items():
        if hosts and group not in (BEAT, BROKER, MONITOR) and group not in inventory.group_data:
            close = get_close_matches(group, inventory.group_data, n=1)
            hint = f"; did you mean the group {close[0]}?" if close else f" with {group}{WORKER_SUFFIX} = {{…}} for a worker role"
            yield f"{group}: the group has {enumerate_briefly(hosts)} and no data; write group_data/{group}.py{hint}"
    if not any(
        f"{group}{WORKER_SUFFIX}" in inventory.hosts.get(host, {}) for group, hosts in inventory.groups.items() for host in hosts
    ):
        yield "no worker: no host is in a group with a setting <group>_worker; see group_data/web.py for one"


def _broker_mistakes(inventory: Inventory) -> Iterable[str]:
    hosts = inventory.groups.get(BROKER, ())
    urls = {repr(data[BROKER]): name for name, data in inventory.hosts.items() if is_external(data)}
    if not urls:
        yield from _own_broker_mistakes(inventory, hosts)
        return
    if hosts:
        yield f"{BROKER}.url: the broker is somebody else's, and the group {BROKER} has {', '.join(hosts)}: leave one of them out"
    without = [name for name, data in inventory.hosts.items() if not is_external(data)]
    if len(urls) > 1 or without:
        yield f"{BROKER}: not the same on {enumerate_briefly([*urls.values(), *without])}; write it in group_data/all.py"


def _own_broker_mistakes(inventory: Inventory, hosts: Sequence[str]) -> Iterable[str]:
    """The number of the broker's hosts, which have to be set up alike."""
    group = f"the group {BROKER} of the inventory"
    count = f"found {len(hosts)} ({', '.join(hosts)})"
    settings = {repr(inventory.hosts[host].get(BROKER, {})): host for host in hosts}
    kinds = [kind_of(inventory.hosts[host].get(BROKER, {})) for host in hosts]
    if not hosts:
        yield (
            f'{group}: found none; it needs exactly one host; or write {BROKER} = {{"url": "@BROKER_URL"}} in '
            "group_data/all.py for one that is not ours"
        )
    elif len(hosts) > 1 and "rabbitmq" not in kinds:
        yield f'{group}: {count}; it needs exactly one host, or three with {BROKER} = {{"kind": "rabbitmq"}}'
    elif len(hosts) == 2:
        yield f"{group}: {count}; two nodes of RabbitMQ stop when either is away: write one host, or three"
    elif len(hosts) > 3:
        yield f"{group}: {count}; a RabbitMQ has one host, or three"
    if len(settings) > 1:
        yield f"{BROKER}: not the same on {enumerate_briefly([*settings.values()])}; write it in group_data/{BROKER}.py"
    if "rabbitmq" in kinds:
        for host in hosts:
            if ":" in str(inventory.hosts[host].get("lan_address") or ""):
                yield f"{host}.lan_address: the nodes of a RabbitMQ are named by their addresses, which have to be IPv4"


def is_external(data: Mapping[str, Any]) -> bool:
    """Whether a host's data name a broker by its URL."""
    return isinstance(data.get(BROKER), Mapping) and "url" in data[BROKER]


def monitor_mistakes(monitor: Monitor, inventory: Inventory) -> Iterable[str]:
    """Hosts that need an address on the LAN to listen on, and have none; and a file that is not there."""
    listening = {
        f'{MONITOR}.node_exporter: "all"': inventory.hosts if monitor.node_exporter == "all" else (),
        f'{MONITOR}.listen: "lan"': inventory.groups.get(MONITOR, ()) if monitor.listen == "lan" else (),
    }
    for setting, hosts in listening.items():
        if without := [name for name in hosts if not inventory.hosts[name].get("lan_address")]:
            yield (
                f'{setting} needs a lan_address of {enumerate_briefly(without)}: write ("{without[0]}", '
                '{"lan_address": "10.0.0.20"}) in the inventory'
            )
    if monitor.alertmanager_file and not Path(monitor.alertmanager_file).is_file():
        yield f"{MONITOR}.alertmanager_file: {monitor.alertmanager_file}: no such file"


def unknown_names(data: Mapping[str, Any], groups: Iterable[str]) -> Iterable[str]:
    """Names in a host's data that are neither settings, nor roles of the inventory's `groups`, nor pyinfra's."""
    roles = [group + WORKER_SUFFIX for group in groups]
    known = {*RUN_ARGUMENTS, *Settings.model_fields, BEAT, BROKER, MONITOR, *roles}
    for name in data:
        if name in known or name.startswith(_PYINFRA_PREFIXES):
            continue
        if name.endswith(WORKER_SUFFIX):
            near = did_you_mean(name, roles)
            yield f"{name}: there is no group {name.removesuffix(WORKER_SUFFIX)} in the inventory{f'; {near}' if near else ''}"
        elif name == "worker":
            yield "worker: unknown setting; a role's workers are <group>_worker, e.g. web_worker in group_data/web.py"
        else:
            yield unknown_setting(name, name, known)


def role_name_mistakes(group: str) -> Iterable[str]:
    """A group whose name cannot be a role's: the name becomes part of a systemd unit's name."""
    if not _ROLE.fullmatch(group):
        yield f"{group}: not a name for a role, because units are named after it; write up to 40 of a-z, A-Z, 0-9, _ and -"


def foreign_roles(host: str, data: Mapping[str, Any], own_groups: Sequence[str], groups: Iterable[str]) -> Iterable[str]:
    """Roles in the data of a host that is not in their groups, and has no other role. groups: all of the inventory's."""
    foreign = [group + WORKER_SUFFIX for group in groups if group + WORKER_SUFFIX in data]
    if not foreign or BROKER in own_groups or any(group + WORKER_SUFFIX in data for group in own_groups):
        return
    roles = ", ".join(key for key in data if key in foreign)
    if own_groups:
        yield (
            f"{roles}: {host} is not in that group, and has no other role; its groups are {', '.join(own_groups)}: "
            f"write e.g. {own_groups[0]}{WORKER_SUFFIX}"
        )
    else:
        yield f"{roles}: {host} is in no group"


def differing_beats(beats: Mapping[str, Beat]) -> Iterable[str]:
    """Settings of beat that are not the same on every host: any of them may lead. beats: host → its settings."""
    first_host, first = next(iter(beats.items()), ("", None))
    for host, beat in beats.items():
        if beat != first:
            name = next(name for name in Beat.model_fields if getattr(beat, name) != getattr(first, name))
            yield (
                f"{BEAT}.{name}: {getattr(first, name)!r} on {first_host}, {getattr(beat, name)!r} on {host}; any of them may "
                f"lead: write it in group_data/{BEAT}.py"
            )
            return


def differing_settings(hosts: Iterable[Host]) -> Iterable[str]:
    """Settings that hold for the whole fleet and are not the same on every host."""
    hosts = list(hosts)
    for name in FLEET_WIDE:
        host_of_value: dict[str, str] = {}
        for host in hosts:
            host_of_value.setdefault(repr(getattr(host.settings, name)), host.name)
        if len(host_of_value) > 1:
            (first, first_host), (second, second_host) = list(host_of_value.items())[:2]
            yield (
                f"{name}: {first} on {first_host}, {second} on {second_host}; it holds for the whole fleet: write it in "
                "group_data/all.py"
            )


def unknown_records_host(hosts: Mapping[str, Host]) -> Iterable[str]:
    """A `records_host` that the inventory does not have."""
    for name in dict.fromkeys(host.settings.records_host for host in hosts.values()):
        if name is not None and name not in hosts:
            near = did_you_mean(name, hosts)
            yield f"records_host: there is no host {name} in the inventory{f'; {near}' if near else ''}"
