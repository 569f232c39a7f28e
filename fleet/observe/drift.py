"""How machines differ from what the settings ask for. Pure; it is what a deploy would change."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.errors import FleetError
from fleet.plan.plan import Plan
from fleet.spec.certificates import Certificates
from fleet.spec.fleet import Fleet, Host
from fleet.state.desired import State
from fleet.state.diff import compare
from fleet.state.driver import ObservedDriver
from fleet.state.observed import ObservedMachine
from fleet.state.release import Release, Sources
from fleet.state.role import Role


@dataclass
class View:
    """A fleet as roles see it (`fleet.state.role.RunView`), for a look that changes nothing."""

    fleet: Fleet
    plan: Plan
    secrets: Mapping[str, str]
    observed: Mapping[str, ObservedMachine]
    certificates: Certificates = field(default_factory=Certificates)
    drivers: Mapping[str, ObservedDriver] | None = None
    _sources: Sources = field(default_factory=Sources)

    def release_of(self, host: Host) -> Release:
        """The release that the sources make for a host. Raises FleetError if its Python is not known."""
        return self._sources.release_for(host, self.observed[host.name], self.fleet.pools)


def roles_of_project() -> tuple[Role, ...]:
    """The modules in `roles/` that say what a machine should have. Raises FleetError if there is no such folder."""
    try:
        package = importlib.import_module("roles")
    except ImportError as error:
        raise FleetError(f"{error}: run this in the root of the clone, which has roles/") from None
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"roles.{name}") for name in names]
    roles: list[Any] = [module for module in modules if hasattr(module, "desired") and hasattr(module, "PATHS")]
    return tuple(roles)


def drift_of(view: View, roles: Iterable[Role], host: Host) -> list[str]:
    """What a deploy would do on a host, a line each kind; empty if it is as asked."""
    observed = view.observed[host.name]
    state = sum((role.desired(view, host) for role in roles), State())
    changes = compare(state, observed)
    lines = changes.describe()
    if changes.reload and not lines:
        lines.append("a unit file has changed since systemd read it")
    for name in changes.restart:
        running = observed.units[name].release
        asked = view.release_of(host).id if host.workers or host.name in view.fleet.beat_hosts else ""
        if running and asked and running != asked:
            lines.append(f"{name} runs release {running}, and your files make {asked}")
    return lines
