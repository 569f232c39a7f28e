"""Where an inventory and its group data set what: file and line, for messages. The files are read, and not run."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from fleet.spec.files import shown


def places_of(inventory: Path, group_data: Iterable[Path], elsewhere: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """Dotted path of a setting → "FILE, line N" of each file that sets it.

    group_data: the files, which can be parsed. elsewhere: names that the inventory's hosts or groups, or the command line, set
    besides; for these only a line of the inventory is named.
    """
    places: dict[str, list[str]] = defaultdict(list)
    for file in group_data:
        for path, line in _set_in(ast.parse(file.read_bytes())):
            if path.partition(".")[0] not in elsewhere:
                places[path].append(f"{shown(file)}, line {line}")
    if inventory.is_file():
        keys: dict[str, list[int]] = defaultdict(list)
        for node in ast.walk(ast.parse(inventory.read_bytes())):
            for key in node.keys if isinstance(node, ast.Dict) else ():
                if isinstance(key, ast.Constant) and isinstance(key.value, str) and key.value in elsewhere:
                    keys[key.value].append(key.lineno)
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                places.setdefault(f"{node.value}.lan_address", [f"{shown(inventory)}, line {node.lineno}"])
        for name, lines in keys.items():
            places[name] = [f"{shown(inventory)}, line {line}" for line in lines]
    return {path: tuple(dict.fromkeys(found)) for path, found in places.items()}


def _set_in(module: ast.Module) -> Iterator[tuple[str, int]]:
    """(dotted path, line) of every name that a module sets, and of the keys of its dicts. The last assignment counts."""
    lines: dict[str, int] = {}
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign):
                lines |= dict(_keys(target.id, target.lineno, node.value))
    yield from lines.items()


def _keys(path: str, line: int, value: ast.expr | None) -> Iterator[tuple[str, int]]:
    yield path, line
    if isinstance(value, ast.Dict):
        for key, inner in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield from _keys(f"{path}.{key.value}", key.lineno, inner)
