"""What differs between the state a machine should have and what the probe saw there."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from posixpath import basename
from typing import TypeGuard

from fleet.state.desired import Directory, Entry, State, User
from fleet.state.observed import ObservedMachine, ObservedPath, RunningUnit


@dataclass(frozen=True)
class Changes:
    """What to do, in this order. False if there is nothing. Unit and path names are sorted."""

    install: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    stop: tuple[str, ...] = ()  # units that were removed
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


def compare(desired: State, observed: ObservedMachine) -> Changes:
    """The changes that bring a machine from what was `observed` to what is `desired`."""
    known = {entry.path for entry in desired.entries}
    remove = sorted(
        path for path in observed.paths if path not in known and any(fnmatchcase(path, pattern) for pattern in desired.only)
    )
    write = tuple(entry for entry in desired.entries if not _is_as_desired(entry, observed.paths.get(entry.path)))
    units = {unit.name: observed.units.get(unit.name) for unit in desired.units}
    revisions = {unit.name: unit.revision for unit in desired.units}
    outdated = {
        name
        for name, unit in units.items()
        if _is_up(unit) and revisions[name] is not None and (unit.revision != revisions[name] or name in observed.unverified)
    }
    changed = [path for path in (*remove, *(entry.path for entry in write)) if "/systemd/system/" in path]
    return Changes(
        install=tuple(sorted(set(desired.packages) - observed.packages)),
        users=tuple(user for user in desired.users if user.name not in observed.users),
        stop=tuple(basename(path) for path in remove if basename(path) in observed.units),
        remove=tuple(remove),
        write=write,
        reload=bool(changed) or any(unit.stale for unit in observed.units.values()),
        start=tuple(
            sorted(name for name, unit in units.items() if not _is_up(unit) or (not unit.enabled and name not in outdated))
        ),
        restart=tuple(sorted(outdated)),
    )


def _is_up(unit: RunningUnit | None) -> TypeGuard[RunningUnit]:
    return unit is not None and unit.active


def _is_as_desired(desired: Entry, observed: ObservedPath | None) -> bool:
    if observed is None or (observed.owner, observed.group, observed.mode) != (desired.owner, desired.group, desired.mode):
        return False
    if isinstance(desired, Directory):
        return observed.kind == "d"
    return observed.kind == "f" and observed.digest == desired.digest
