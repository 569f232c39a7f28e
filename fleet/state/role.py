"""A role's face: what the engine has to know of a kind of service, and what a role may know of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Protocol

from fleet.errors import FleetError
from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.spec.certificates import Certificates
from fleet.spec.fleet import Fleet, Host
from fleet.state.desired import State
from fleet.state.driver import ObservedDriver
from fleet.state.observed import ObservedMachine, Watched
from fleet.state.release import Release


class RunView(Protocol):
    """A run as a role sees it. observed: host → what the probe reported there, of the hosts that this run asked."""

    @property
    def fleet(self) -> Fleet: ...

    @property
    def plan(self) -> Plan: ...

    @property
    def secrets(self) -> Mapping[str, str]: ...

    @property
    def certificates(self) -> Certificates: ...

    @property
    def observed(self) -> Mapping[str, ObservedMachine]: ...

    @property
    def drivers(self) -> Mapping[str, ObservedDriver] | None:
        """Host → its NVIDIA driver; None until they were asked."""

    def release_of(self, host: Host) -> Release:
        """The release that a host should have. Raises FleetError."""


class Role(Protocol):
    """A kind of service, as a module of `roles/`. It is pure: it returns the state that it wants, and changes nothing.

    PACKAGES: Debian packages that it may ask for. PATHS: shell patterns of every file and directory that it may write or remove;
    one that ends with "/" means directories alone. UNITS: names, or shell patterns, of its systemd units. The probe of a machine
    is made from these three: what a role manages and does not list here would be written again, and its service restarted, in
    every deploy. `check_watched` refuses it.
    """

    @property
    def PACKAGES(self) -> tuple[str, ...]: ...  # noqa: N802 - a constant of a module

    @property
    def PATHS(self) -> tuple[str, ...]: ...  # noqa: N802

    @property
    def UNITS(self) -> tuple[str, ...]: ...  # noqa: N802

    def desired(self, run: RunView, host: Host) -> State:
        """The state of this role on a host; an empty one on a host that does not have it."""


class WorkerRole(Role, Protocol):
    """A role whose units are the instances of the plan, so that a rollout can restart them in steps."""

    def surge(self, run: RunView, instance: Instance, release: Release) -> tuple[str, str]:
        """(name, text) of the unit of a second instance, which runs while the first is away."""


def watched(roles: Iterable[Role]) -> Watched:
    """All that the probe has to look at."""
    roles = tuple(roles)
    return Watched(
        packages=_distinct(role.PACKAGES for role in roles),
        users=_distinct(getattr(role, "USERS", ()) for role in roles),
        paths=_distinct(role.PATHS for role in roles),
        units=_distinct(role.UNITS for role in roles),
    )


def check_watched(state: State, role: Role) -> None:
    """Raises FleetError if a role asks for what it does not list in its face."""
    name = getattr(role, "__name__", str(role))
    # A file that appears below a listed directory is not watched by that alone: only its own pattern does that.
    paths = tuple(pattern.rstrip("/") for pattern in role.PATHS)
    unwatched = [
        *(("PATHS", entry.path) for entry in state.entries if not _matches(entry.path, paths)),
        *(("PATHS", pattern) for pattern in state.only if not _matches(pattern, paths)),
        *(("UNITS", unit.name) for unit in state.units if not _matches(unit.name, role.UNITS)),
        *(("PACKAGES", package) for package in state.packages if not _matches(package, role.PACKAGES)),
        *(("USERS", user.name) for user in state.users if user.name not in getattr(role, "USERS", ())),
    ]
    if unwatched:
        lines = [f"{name}.{constant}: add {value!r}, which {name}.desired() asks for" for constant, value in unwatched]
        raise FleetError("\n".join(lines))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    # A shell's * does not match a slash.
    return any(name.count("/") == pattern.count("/") and (name == pattern or fnmatchcase(name, pattern)) for pattern in patterns)


def _distinct(names: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in names for name in group))
