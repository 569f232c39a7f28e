"""Inventory file and group data → plain values, by pyinfra's rules, for commands that need no pyinfra.

The rules (pyinfra 3.10, `pyinfra_cli/inventory.py`): every list, or tuple of list and dict, in the inventory file is a group;
group data is read from `group_data/` of the working directory and of the inventory's folder; a host's own data goes before
its groups', later groups before earlier ones, all groups before `all`; a value is replaced whole, never merged.
"""

from __future__ import annotations

import ast
import runpy
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fleet.spec.fleet import Inventory
from fleet.spec.mistakes import SpecError


def read_inventory(path: Path, group_data: Path | None = None) -> Inventory:
    """The inventory that pyinfra would read from `path`. Raises SpecError if there is no such file, or it does not run."""
    if not path.is_file():
        raise SpecError([f"{path}: no such inventory file"])
    groups = {name: value for name, value in _run(path).items() if _is_group(name, value)}
    data = _group_data([Path.cwd() / "group_data", path.resolve().parent / "group_data", *([group_data] if group_data else [])])
    own: dict[str, dict[str, Any]] = {}
    members: dict[str, tuple[str, ...]] = {}
    for name, value in groups.items():
        hosts, inline = value if isinstance(value, tuple) else (value, {})
        data[name] = {**inline, **data.get(name, {})}
        members[name] = tuple(host if isinstance(host, str) else host[0] for host in hosts)
        for host, host_data in ((host, {}) if isinstance(host, str) else host for host in hosts):
            own.setdefault(host, {}).update(host_data)
    everybody = members.pop("all", ()) or tuple(own)
    stem = path.name.rsplit(".", 1)[0]
    order = [*members, *([stem] if stem not in members else [])]
    hosts_data = {
        host: _merged([data.get("all", {}), *(data.get(g, {}) for g in order if host in members.get(g, everybody)), own[host]])
        for host in everybody
    }
    with_data = frozenset(name for name, values in data.items() if values and name != "all")
    return Inventory(hosts_data, members, with_data, file_mistakes(path, with_data))


def file_mistakes(path: Path, group_data: Collection[str]) -> tuple[str, ...]:
    """What pyinfra passes over: groups that are no lists, and hosts that are in one twice. The file is read, and not run.

    group_data: names of the groups that have data.
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
            mistakes.append(f'{name}: no list in the inventory, so that no host is in the group; write {name} = ["host", …]')
        elif isinstance(hosts, ast.List):
            mistakes += [f"{name}: {host} is in the list twice" for host in _doubled(hosts.elts)]
    return tuple(mistakes)


def _doubled(hosts: Iterable[ast.expr]) -> list[str]:
    elements = (host.elts[0] if isinstance(host, ast.Tuple) and host.elts else host for host in hosts)
    names = Counter(name.value for name in elements if isinstance(name, ast.Constant))
    return [str(name) for name, number in names.items() if number > 1]


def _is_group(name: str, value: Any) -> bool:
    if name.startswith("_"):
        return False
    hosts = value[0] if isinstance(value, tuple) and value else value
    return isinstance(hosts, list) and all(isinstance(host, str | tuple) for host in hosts)


def _run(path: Path) -> dict[str, Any]:
    try:
        return runpy.run_path(str(path))
    except SystemExit as end:  # inventory/lab.py ends so if there is no lab
        raise SpecError([str(end)]) from None
    except Exception as error:
        raise SpecError([f"{path}: {type(error).__name__}: {error}"]) from error


def _group_data(folders: list[Path]) -> dict[str, dict[str, Any]]:
    data_by_group: dict[str, dict[str, Any]] = {}
    for file in _distinct(folders):
        data = _run(file)
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


def _distinct(folders: list[Path]) -> Iterator[Path]:
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        if folder.is_dir():
            yield from sorted(folder.glob("*.py"))


def _merged(layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return merged
