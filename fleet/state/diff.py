"""What differs between the state a machine should have and what the probe saw there."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from posixpath import basename
from typing import TypeGuard

from fleet.state.desired import Directory, Entry, State, User
from fleet.state.observed import ObservedMachine, ObservedPath, RunningUnit

UNIT_FOLDER = "/etc/systemd/system/"


@dataclass(frozen=True)
class Changes:
    """What to do, in this order. False where there is nothing. Unit and path names are sorted."""

    install: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    stop: tuple[str, ...] = ()  # units that are no longer wanted
    remove: tuple[str, ...] = ()  # paths
    write: tuple[Entry, ...] = ()
    reload: bool = False  # systemd's unit files changed
    start: tuple[str, ...] = ()  # units to enable and start
    restart: tuple[str, ...] = ()  # units that run another revision than they should

    def __bool__(self) -> bool:
        return self != Changes()

    def describe(self) -> list[str]:
        """A line a kind of change, for people. Contents are never shown: some are secrets."""
        kinds = {
            "install": self.install,
            "create user": (user.name for user in self.users),
            "stop": self.stop,
            "remove": self.remove,
            "write": (entry.path for entry in self.write),
            "restart": self.restart,
            "start": self.start,
        }
        return [f"{verb} {' '.join(names)}" for verb, names in ((v, tuple(n)) for v, n in kinds.items()) if names]


def compare(wanted: State, seen: ObservedMachine) -> Changes:
    """The changes that bring a machine from what was `seen` to what is `wanted`."""
    known = {entry.path for entry in wanted.entries}
    remove = sorted(
        path for path in seen.paths if path not in known and any(fnmatchcase(path, pattern) for pattern in wanted.only)
    )
    write = tuple(entry for entry in wanted.entries if not _is_as_wanted(entry, seen.paths.get(entry.path)))
    units = {unit.name: seen.units.get(unit.name) for unit in wanted.units}
    revisions = {unit.name: unit.revision for unit in wanted.units}
    other = {
        name
        for name, unit in units.items()
        if _is_up(unit) and revisions[name] is not None and (unit.revision != revisions[name] or name in seen.unjudged)
    }
    changed = [path for path in (*remove, *(entry.path for entry in write)) if "/systemd/system/" in path]
    return Changes(
        install=tuple(sorted(set(wanted.packages) - seen.packages)),
        users=tuple(user for user in wanted.users if user.name not in seen.users),
        stop=tuple(basename(path) for path in remove if basename(path) in seen.units),
        remove=tuple(remove),
        write=write,
        reload=bool(changed) or any(unit.stale for unit in seen.units.values()),
        start=tuple(sorted(name for name, unit in units.items() if not _is_up(unit) or (not unit.enabled and name not in other))),
        restart=tuple(sorted(other)),
    )


def _is_up(unit: RunningUnit | None) -> TypeGuard[RunningUnit]:
    return unit is not None and unit.active


def _is_as_wanted(wanted: Entry, seen: ObservedPath | None) -> bool:
    if seen is None or (seen.owner, seen.group, seen.mode) != (wanted.owner, wanted.group, wanted.mode):
        return False
    if isinstance(wanted, Directory):
        return seen.kind == "d"
    return seen.kind == "f" and seen.digest == wanted.digest
