"""Group data → typed, validated settings for the whole fleet, once, in one place.

Every mistake of the user is found before the first machine is asked anything, all of them at once, each on one line that
names the path, what was found and what to write.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from fleet.fields import Model
from fleet.model import Broker, Settings, Worker
from fleet.requirements import unpinned
from fleet.text import did_you_mean, some

BROKER = "broker"
_SUFFIX = "_worker"
M = TypeVar("M", bound=Model)
FLEET_WIDE = ("visibility_timeout", "database_max_connections", "lint_ignore", "secrets_file")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
OF_A_RUN = ("role", "release", "discard_tasks")  # said by --data, for this run alone
# Group data that pyinfra itself reads: global arguments and connector settings.
_PYINFRA_PREFIXES = ("_", "ssh_", "fake_", "local_")


class SpecError(Exception):
    """The settings are wrong. str() is what the user reads: one mistake a line."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = list(dict.fromkeys(mistakes))
        super().__init__("\n".join(self.mistakes))


@dataclass(frozen=True)
class Inventory:
    """What an inventory and its group data say, as plain values.

    hosts: name → data merged for that host. groups: name → host names, in the inventory's order. group_data: the groups
    that have data of their own. The group of all hosts that is named after the inventory file is not among the groups.
    """

    hosts: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, tuple[str, ...]]
    group_data: frozenset[str]


@dataclass(frozen=True)
class Host:
    """One machine: its settings and the worker roles that it runs, by group name."""

    name: str
    settings: Settings
    workers: Mapping[str, Worker]


@dataclass(frozen=True)
class Fleet:
    """The whole fleet, validated. broker_host: a key of `hosts`. unused_group_data: names that no group with a host has."""

    hosts: Mapping[str, Host]
    broker_host: str
    broker: Broker
    unused_group_data: tuple[str, ...] = ()

    @property
    def settings(self) -> Settings:
        """The settings that stand for the whole fleet: the broker's host's."""
        return self.hosts[self.broker_host].settings

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names in the secrets file that some role's workers get."""
        return tuple(dict.fromkeys(name for host in self.hosts.values() for one in host.workers.values() for name in one.secrets))

    @property
    def broker_address(self) -> str:
        """Where workers reach the broker."""
        address = self.settings.lan_address
        assert address is not None  # noqa: S101 - load() refuses a broker without one
        return address

    @property
    def broker_netloc(self) -> str:
        """Address and port of the broker, as they stand in a URL."""
        address = self.broker_address
        return f"[{address}]:{self.broker.port}" if ":" in address else f"{address}:{self.broker.port}"

    @property
    def pools(self) -> tuple[str, ...]:
        """Every pool that some worker uses, sorted."""
        return tuple(sorted({worker.pool for host in self.hosts.values() for worker in host.workers.values()}))


def load(inventory: Inventory) -> Fleet:
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
        settings = _validate(Settings, own, "", mistakes)
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
                known[key] = _validate(Worker, data[path], path, mistakes)
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
            broker = _validate(Broker, data.get(BROKER, {}), BROKER, mistakes)
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
            yield f"{group}: the group has {some(hosts)} and no data; write group_data/{group}.py{hint}"
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
            yield _unknown(name, name, known)


def _unknown(where: str, name: str, known: Iterable[str]) -> str:
    return f"{where}: unknown setting; " + (did_you_mean(name, known) or f"known here: {', '.join(sorted(known))}")


def _validate(model: type[M], data: Any, path: str, mistakes: list[str]) -> M | None:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        unknown = [str(detail["loc"][-1]) for detail in details if detail["type"] == "extra_forbidden"]
        for detail in details:
            # A required setting whose name is misspelt is one mistake, and the other line says it.
            if detail["type"] != "missing" or not get_close_matches(str(detail["loc"][-1]), unknown, n=1):
                mistakes.append(_explain(model, path, detail["type"], detail["loc"], detail["msg"], detail["input"]))
        return None


_WRITE = {
    "list_type": 'a list such as ["default"]',
    "dict_type": 'a dict such as {"NAME": "value"}',
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "True or False",
    "bool_parsing": "True or False",
}


def _explain(model: type[Model], path: str, kind: str, loc: tuple[int | str, ...], message: str, found: Any) -> str:
    where = ".".join(str(part) for part in ([path] if path else []) + list(loc))
    model, field = _field(model, loc)
    about = f" ({field.description})" if field and field.description else ""
    if kind == "extra_forbidden":
        return _unknown(where, str(loc[-1]), model.model_fields)
    if kind == "missing":
        return f"{where}: missing{about}"
    if kind == "too_short":
        return f"{where}: found none, write at least one{about}"
    if not loc:
        return f"{where}: write a dict of settings, found {_short(found)}"
    if kind in _WRITE:
        return f"{where}: write {_WRITE[kind]}, found {_short(found)}{about}"
    if kind == "string_pattern_mismatch":
        message = "write one line of text" if "x00" in message else "write letters, digits and any of _ . : - alone"
    return f"{where}: {message.removeprefix('Value error, ')}, found {_short(found)}{about}"


def _field(model: type[Model], loc: Iterable[int | str]) -> tuple[type[Model], FieldInfo | None]:
    """The field that a path leads to, and the model that it is of: a setting may be a dict of settings."""
    field = None
    for part in map(str, loc):
        if field:
            model = next((one for one in (get_args(field.annotation) or (field.annotation,)) if _is_model(one)), model)
        if (found := model.model_fields.get(part)) is None:
            break
        field = found
    return model, field


def _is_model(one: Any) -> TypeGuard[type[Model]]:
    return isinstance(one, type) and issubclass(one, Model)


def _short(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= 100 else text[:97] + "..."


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
        yield f"{requirements}: not pinned with ==: {some(names)}; the same release must be the same everywhere"
