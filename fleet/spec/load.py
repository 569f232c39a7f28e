"""Group data → typed, validated settings for the whole fleet, once, in one place.

Every mistake of the user is found before the first machine is asked anything, all of them at once, each on one line that
names the path, what was found and what to write.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fleet.spec.broker import Broker
from fleet.spec.fleet import Fleet, Host, Inventory
from fleet.spec.mistakes import SpecError, unknown_setting, validate
from fleet.spec.requirements import unpinned
from fleet.spec.settings import Settings
from fleet.spec.text import did_you_mean, enumerate_briefly
from fleet.spec.worker import Worker

BROKER = "broker"
_SUFFIX = "_worker"
FLEET_WIDE = ("visibility_timeout", "database_max_connections", "lint_ignore", "secrets_file")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
OF_A_RUN = ("role", "release", "discard_tasks")  # said by --data, for this run alone
# Group data that pyinfra itself reads: global arguments and connector settings.
_PYINFRA_PREFIXES = ("_", "ssh_", "fake_", "local_")


def load_fleet(inventory: Inventory) -> Fleet:
    """Validate the whole fleet.

    Raises SpecError with every mistake found. A host's own data goes before its groups', as pyinfra merges them.
    """
    mistakes = [*_group_mistakes(inventory)]
    members = {group: frozenset(hosts) for group, hosts in inventory.groups.items()}
    known: dict[str, Worker | None] = {}
    hosts: dict[str, Host] = {}
    broker: Broker | None = None
    for name, data in inventory.hosts.items():
        groups = [group for group in inventory.groups if name in members[group]]
        mistakes += _unknown_names(data, inventory.groups)
        own = {key: value for key, value in data.items() if key in Settings.model_fields}
        settings = validate(Settings, own, "", mistakes)
        workers = {}
        for group in groups:
            path = group + _SUFFIX
            if path not in data:
                continue
            if not _ROLE.fullmatch(group):
                mistakes.append(
                    f"{group}: no name for a role, which is part of its unit's; write up to 40 of a-z, A-Z, 0-9, _ and -"
                )
                continue
            # The same text is the same worker, once: most machines of a large fleet are alike.
            key = f"{path}{data[path]!r}"
            if key not in known:
                known[key] = validate(Worker, data[path], path, mistakes)
            if (worker := known[key]) is not None:
                workers[group] = worker
        foreign = [key for key in data if key.endswith(_SUFFIX) and key.removesuffix(_SUFFIX) in inventory.groups]
        if foreign and BROKER not in groups and not any(group + _SUFFIX in data for group in groups):
            mistakes.append(
                f"{', '.join(foreign)}: {name} is not in that group, and has no other role; its groups are {', '.join(groups)}: "
                f"write e.g. {groups[0]}{_SUFFIX}"
                if groups
                else f"{', '.join(foreign)}: {name} is in no group"
            )
        if settings is not None:
            hosts[name] = Host(name, settings, workers)
        if BROKER in groups:
            broker = validate(Broker, data.get(BROKER, {}), BROKER, mistakes)
            if not data.get("lan_address"):
                mistakes.append(
                    f'{name}.lan_address: missing; workers connect to it: write ("{name}", {{"lan_address": "10.0.0.10"}}) '
                    "in the inventory"
                )
    mistakes += _differing(hosts.values())
    for app in dict.fromkeys(_app_of(host.settings) for host in hosts.values()):
        try:
            mistakes += _app_mistakes(*app)
        except (OSError, UnicodeDecodeError) as error:
            mistakes.append(f"app_source: {app[0][:80]} is not readable: {error}")
    if mistakes or broker is None:
        raise SpecError(mistakes)
    unused = tuple(sorted(inventory.group_data - {group for group, names in inventory.groups.items() if names} - {"all"}))
    return Fleet(hosts, inventory.groups[BROKER][0], broker, unused)


def _differing(hosts: Iterable[Host]) -> Iterable[str]:
    """Settings that hold for the whole fleet and are not the same on every host."""
    for name in FLEET_WIDE:
        by_value: dict[str, str] = {}
        for host in hosts:
            by_value.setdefault(repr(getattr(host.settings, name)), host.name)
        if len(by_value) > 1:
            (one, here), (other, there) = list(by_value.items())[:2]
            yield f"{name}: {one} on {here}, {other} on {there}; it holds for the whole fleet: write it in group_data/all.py"


def _group_mistakes(inventory: Inventory) -> Iterable[str]:
    brokers = inventory.groups.get(BROKER, ())
    if len(brokers) != 1:
        found = f"found {len(brokers)} ({', '.join(brokers)})" if brokers else "found none"
        yield f"{BROKER}: {found}; the inventory needs exactly one host in the group {BROKER}"
    for group, hosts in inventory.groups.items():
        if hosts and group != BROKER and group not in inventory.group_data:
            close = get_close_matches(group, inventory.group_data, n=1)
            hint = f"; did you mean the group {close[0]}?" if close else f" with {group}{_SUFFIX} = {{…}} for a worker role"
            yield f"{group}: the group has {enumerate_briefly(hosts)} and no data; write group_data/{group}.py{hint}"
    if not any(
        f"{group}{_SUFFIX}" in inventory.hosts.get(host, {}) for group, hosts in inventory.groups.items() for host in hosts
    ):
        yield "no worker: no host is in a group with a setting <group>_worker; see group_data/web.py for one"


def _unknown_names(data: Mapping[str, Any], groups: Mapping[str, tuple[str, ...]]) -> Iterable[str]:
    known = {*OF_A_RUN, *Settings.model_fields, BROKER, *(group + _SUFFIX for group in groups)}
    for name in data:
        if name in known or name.startswith(_PYINFRA_PREFIXES):
            continue
        if name.endswith(_SUFFIX):
            near = did_you_mean(name, [group + _SUFFIX for group in groups])
            yield f"{name}: there is no group {name.removesuffix(_SUFFIX)} in the inventory{f'; {near}' if near else ''}"
        elif name == "worker":
            yield "worker: unknown setting; a role's workers are <group>_worker, e.g. web_worker in group_data/web.py"
        else:
            yield unknown_setting(name, name, known)


def _is_shipped(file: Path, source: Path, exclude: Iterable[str]) -> bool:
    inside, top = file.resolve(), source.resolve()
    if not inside.is_relative_to(top):
        return False
    return not any(fnmatch(part, pattern) for part in inside.relative_to(top).parts for pattern in exclude)


def _app_of(settings: Settings) -> tuple[str, str, str, tuple[str, ...]]:
    return settings.app_source, settings.app_requirements, settings.secrets_file, tuple(settings.app_exclude)


def _app_mistakes(app_source: str, app_requirements: str, secrets_file: str, exclude: Iterable[str]) -> Iterable[str]:
    source = Path(app_source)
    if not source.is_dir():
        yield f"app_source: no such folder: {app_source} (seen from {Path.cwd()}); write the path of the app's code"
        return
    if _is_shipped(Path(secrets_file), source, exclude):
        yield f"secrets_file: {secrets_file} is inside app_source and would be shipped to every machine; move it"
    requirements = source / app_requirements
    if not requirements.is_file():
        yield (
            f"app_requirements: no such file: {requirements}; pin the app's requirements there, "
            "e.g. with `uv pip compile --universal --generate-hashes`"
        )
    elif names := unpinned(requirements.read_text()):
        yield f"{requirements}: not pinned with ==: {enumerate_briefly(names)}; the same release must be the same everywhere"
