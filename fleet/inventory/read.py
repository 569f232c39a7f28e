"""Inventory file and group data → plain values, by pyinfra's rules, for commands that need no pyinfra.

The rules (pyinfra 3.10, `pyinfra_cli/inventory.py`): every list, or tuple of list and dict, in the inventory file is a group;
group data is read from `group_data/` of the working directory and of the inventory's folder; a host's own data goes before
its groups', later groups before earlier ones, all groups before `all`; a value is replaced whole, never merged.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from fleet.inventory.execute import errors_in, execute
from fleet.inventory.places import places_of
from fleet.spec.files import shown
from fleet.spec.fleet import Inventory
from fleet.spec.groups import WORKER_SUFFIX
from fleet.spec.mistakes import SpecError

_NO_LIST = 'no list in the inventory, so that no host is in the group; write {} = ["host", …]'


def read_inventory(path: Path, group_data: Path | None = None) -> Inventory:
    """The inventory that pyinfra would read from `path`. Raises SpecError if there is no such file, or it does not run."""
    refuse_no_file(path)
    names = execute(path)
    refuse_groups(path, names)
    groups = {name: value for name, value in names.items() if _is_group(name, value)}
    files = data_files(path, *([group_data] if group_data else []))
    data = _group_data(files)
    own: dict[str, dict[str, Any]] = {}
    members: dict[str, tuple[str, ...]] = {}
    elsewhere: set[str] = set()
    for name, value in groups.items():
        hosts, inline = value if isinstance(value, tuple) else (value, {})
        elsewhere |= inline.keys()
        data[name] = {**inline, **data.get(name, {})}
        members[name] = tuple(host if isinstance(host, str) else host[0] for host in hosts)
        for host, host_data in ((host, {}) if isinstance(host, str) else host for host in hosts):
            own.setdefault(host, {}).update(host_data)
    everybody = members.pop("all", ()) or tuple(own)
    refuse_nobody(path, everybody)
    stem = path.name.rsplit(".", 1)[0]
    order = [*members, *([stem] if stem not in members else [])]
    hosts_data = {
        host: _merged([data.get("all", {}), *(data.get(g, {}) for g in order if host in members.get(g, everybody)), own[host]])
        for host in everybody
    }
    refuse_no_data(path, files, hosts_data)
    with_data = frozenset(name for name, values in data.items() if values and name != "all")
    elsewhere.update(*own.values())
    return Inventory(hosts_data, members, with_data, file_mistakes(path, with_data), places_of(path, files, elsewhere))


def refuse_no_file(path: Path) -> None:
    """Raises SpecError if there is no file at `path`."""
    if not path.is_file():
        raise SpecError([f"{shown(path)}: {'a folder, and no' if path.is_dir() else 'no such'} inventory file"])


def refuse_nobody(path: Path, hosts: Collection[str]) -> None:
    """Raises SpecError if no host is in the inventory."""
    if not hosts:
        raise SpecError([f'{shown(path)}: no host is in it; write a list of hosts a group, as in web = ["web1"]'])


def refuse_no_data(path: Path, files: Collection[Path], hosts: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises SpecError if there is no group data, and no host has a worker role by other means. files: of group data. hosts: name
    → data."""
    if not files and not any(key.endswith(WORKER_SUFFIX) for data in hosts.values() for key in data):
        raise SpecError(
            [
                f"{shown(path)}: no group_data/ beside it, nor in {Path.cwd()}; run this in the folder that has group_data/ and "
                "config.py, which is the root of the clone"
            ]
        )


def refuse_groups(path: Path, names: Mapping[str, Any]) -> None:
    """Raises SpecError for groups that pyinfra cannot read, or passes over. names: all that the inventory file has set."""
    lines = {
        target.id: node.lineno
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    mistakes = [
        f"{shown(path)}{f', line {lines[name]}' if name in lines else ''}: {name}: {mistake}"
        for name, value in names.items()
        if not name.startswith("_") and (mistake := _group_mistake(name, value))
    ]
    if mistakes:
        raise SpecError(mistakes)


def _group_mistake(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        if len(value) != 2 or not isinstance(value[0], list) or not isinstance(value[1], dict):
            return _NO_LIST.format(name)
        value = value[0]
    if not isinstance(value, list) or not any(isinstance(host, str | tuple) for host in value):
        return ""  # no group, as pyinfra has it
    for host in value:
        pair = isinstance(host, tuple) and len(host) == 2 and isinstance(host[1], dict)
        host_name = host[0] if pair else host
        if not (isinstance(host_name, str) and host_name):
            return _no_host(repr(host))
    return ""


def _no_host(value: str) -> str:
    return f'{value} is no host; write "host", or ("host", {{"setting": …}})'


def file_mistakes(path: Path, group_data: Collection[str]) -> tuple[str, ...]:
    """What pyinfra passes over: groups that are no lists, and hosts that are in one twice. The file is read, and not run.

    group_data: names of groups that have data.
    """
    last: dict[str, ast.expr | None] = {}  # a name may be set in several steps
    for node in ast.parse(path.read_bytes()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        last |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    mistakes = []
    for name in (name for name in last if name in group_data and name != path.stem):
        value = last[name]
        hosts = value.elts[0] if isinstance(value, ast.Tuple) and value.elts else value  # (list, data) is a group too
        if isinstance(hosts, ast.Constant | ast.JoinedStr | ast.Dict | ast.Set | ast.Tuple):
            mistakes.append(f"{shown(path)}, line {hosts.lineno}: {name}: {_NO_LIST.format(name)}")
        elif isinstance(hosts, ast.List):
            wrong = [host for host in hosts.elts if isinstance(host, ast.Constant) and not isinstance(host.value, str)]
            mistakes += [f"{shown(path)}, line {host.lineno}: {name}: {_no_host(ast.unparse(host))}" for host in wrong]
            mistakes += [
                f"{shown(path)}, line {line}: {name}: {host} is in the list twice" for host, line in _doubled(hosts.elts)
            ]
    return tuple(mistakes)


def _doubled(hosts: Iterable[ast.expr]) -> list[tuple[str, int]]:
    elements = (host.elts[0] if isinstance(host, ast.Tuple) and host.elts else host for host in hosts)
    constants = [element for element in elements if isinstance(element, ast.Constant)]
    names = Counter(constant.value for constant in constants)
    line_of = {constant.value: constant.lineno for constant in constants}  # where it stands last
    return [(str(name), line_of[name]) for name, number in names.items() if number > 1]


def _is_group(name: str, value: Any) -> bool:
    if name.startswith("_"):
        return False
    hosts = value[0] if isinstance(value, tuple) and value else value
    return isinstance(hosts, list) and all(isinstance(host, str | tuple) for host in hosts)


def data_files(inventory: Path, *more: Path) -> list[Path]:
    """The files of group data that pyinfra reads for an inventory, in its order. more: other folders, read last."""
    folders = dict.fromkeys(
        folder.resolve() for folder in (Path.cwd() / "group_data", inventory.resolve().parent / "group_data", *more)
    )
    files: list[Path] = []
    for folder in folders:
        if folder.is_dir():
            with errors_in(folder):
                files += sorted(file for file in folder.iterdir() if file.suffix == ".py")
    return files


def _group_data(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    data_by_group: dict[str, dict[str, Any]] = {}
    for file in files:
        data = execute(file)
        # Imported names are no data (pyinfra leaves them out too).
        imported = {
            alias.asname or alias.name.split(".")[0]
            for node in ast.parse(file.read_bytes()).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        values = {k: value for k, value in data.items() if not k.startswith("__") and k not in imported}
        data_by_group.setdefault(file.stem, {}).update(values)
    return data_by_group


def _merged(layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return merged
