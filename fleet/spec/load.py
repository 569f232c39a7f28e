"""Group data → typed, validated settings for the whole fleet, once, in one place.

Every mistake of the user is found before the first machine is asked anything. All mistakes are reported at once, one a line, with
the path, what was found and what to write.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fleet.spec import transport
from fleet.spec.app_files import app_mistakes
from fleet.spec.beat import Beat
from fleet.spec.broker import Broker, External, validated
from fleet.spec.fleet import Fleet, Host, Inventory
from fleet.spec.groups import (
    BEAT,
    BROKER,
    MONITOR,
    WORKER_SUFFIX,
    differing_beats,
    differing_settings,
    foreign_roles,
    group_mistakes,
    is_external,
    monitor_mistakes,
    role_name_mistakes,
    unknown_names,
    unknown_records_host,
)
from fleet.spec.mistakes import SpecError, placed
from fleet.spec.monitor import Monitor
from fleet.spec.settings import Settings
from fleet.spec.validate import validate
from fleet.spec.worker import Worker


def load_fleet(inventory: Inventory) -> Fleet:
    """Validate the whole fleet.

    A host's own data overrides its groups', as pyinfra merges them. Raises SpecError with every mistake, also if the app's files
    are missing or not readable.
    """
    mistakes = [*inventory.mistakes, *group_mistakes(inventory)]
    members = {group: frozenset(hosts) for group, hosts in inventory.groups.items()}
    workers_before: dict[str, Worker | None] = {}
    hosts: dict[str, Host] = {}
    broker: Broker | None = None
    monitor: Monitor | None = None
    beats: dict[str, Beat] = {}
    for name, data in inventory.hosts.items():
        groups = [group for group in inventory.groups if name in members[group]]
        mistakes += unknown_names(data, inventory.groups)
        own_settings = {key: value for key, value in data.items() if key in Settings.model_fields}
        settings = validate(Settings, own_settings, "", mistakes)
        workers = _workers(data, groups, workers_before, mistakes)
        mistakes += foreign_roles(name, data, groups, inventory.groups)
        if settings is not None:
            hosts[name] = Host(name, settings, workers)
        if BROKER in groups:
            broker = validated(data.get(BROKER, {}), BROKER, mistakes)
            if not data.get("lan_address"):
                mistakes.append(
                    f'{name}.lan_address: missing; workers connect to it: write ("{name}", {{"lan_address": "10.0.0.10"}}) '
                    "in the inventory"
                )
        elif broker is None and is_external(data):
            broker = validated(data[BROKER], BROKER, mistakes)
        if MONITOR in groups:
            monitor = validate(Monitor, data.get(MONITOR, {}), MONITOR, mistakes)
        if BEAT in groups and (beat := validate(Beat, data.get(BEAT, {}), BEAT, mistakes)):
            beats[name] = beat
    if monitor is not None:
        mistakes += monitor_mistakes(monitor, inventory)
        if monitor.flower and isinstance(broker, External) and broker.master_name:
            mistakes.append(
                f"{MONITOR}.flower: Flower cannot be told of broker.master_name, so that it finds no primary: leave it out"
            )
    mistakes = [placed(mistake, inventory.places) for mistake in mistakes]
    mistakes += differing_settings(hosts.values())
    mistakes += differing_beats(beats)
    mistakes += unknown_records_host(hosts)
    scheme = ""
    if hosts and broker is not None:
        everywhere = next(iter(hosts.values())).settings
        scheme = transport.scheme_of(broker, everywhere.secrets_file)
        mistakes += transport.mistakes(broker, scheme, everywhere, monitor is not None and monitor.flower)
    mistakes += (placed(mistake, inventory.places) for mistake in app_mistakes(host.settings for host in hosts.values()))
    if mistakes or broker is None:
        raise SpecError(mistakes)
    unused = inventory.group_data - {group for group, names in inventory.groups.items() if names} - {"all"}
    # What sets nothing, as in a new project, is no mistake.
    unused -= {group for group in (BEAT, BROKER, MONITOR) if not any(place.startswith(f"{group}.") for place in inventory.places)}
    monitored = inventory.groups.get(MONITOR) if monitor else None
    broker_hosts = () if isinstance(broker, External) else inventory.groups[BROKER]
    broker_host = next(iter(broker_hosts), None)
    first = next(iter(hosts.values()))
    return Fleet(
        hosts,
        broker_host,
        broker,
        first.settings.records_host or broker_host or first.name,
        tuple(sorted(unused)),
        monitored[0] if monitored else None,
        monitor or Monitor(),
        tuple(beats),
        next(iter(beats.values()), Beat()),
        scheme if isinstance(broker, External) else "",
        tuple(broker_hosts[1:]),
    )


def _workers(
    data: Mapping[str, Any], groups: Iterable[str], before: dict[str, Worker | None], mistakes: list[str]
) -> dict[str, Worker]:
    """The workers of a host, by role.

    before: workers of the hosts before, by path and text. Most hosts of a large fleet are alike: the same text is validated
    once, and is the same object.
    """
    workers = {}
    for group in groups:
        path = group + WORKER_SUFFIX
        if path not in data:
            continue
        if wrong_name := [*role_name_mistakes(group)]:
            mistakes += wrong_name
            continue
        key = f"{path}{data[path]!r}"
        if key not in before:
            before[key] = validate(Worker, data[path], path, mistakes)
        worker = before[key]
        if worker is not None:
            workers[group] = worker
    return workers
