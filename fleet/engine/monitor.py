"""The monitor, at the edge: Debian's services start as they are installed, and must not listen everywhere until then."""

from __future__ import annotations

from typing import Protocol

from pyinfra import logger
from pyinfra.context import host

from fleet.engine import apply
from fleet.engine.refusal import refusing
from fleet.engine.run import Run
from fleet.spec.fleet import Host
from fleet.state.desired import State
from fleet.state.diff import compare
from fleet.state.role import Role, RunView


class DebianRole(Role, Protocol):
    """A role of Debian's services."""

    def first(self, run: RunView, host: Host) -> State:
        """What has to be there before the packages are."""


class MonitorRole(DebianRole, Protocol):
    """The face of the monitor's role."""

    def is_whole(self, run: RunView) -> bool:
        """Whether the run knows what the exporter should expect."""


def bring(run: Run, role: MonitorRole, *others: DebianRole) -> None:
    """Declare the monitor on its host, and the others where they belong."""
    local = run.fleet.hosts[host.name]
    roles: list[DebianRole] = [*others, role] if role.is_whole(run) else [*others]
    if role not in roles and host.name == run.fleet.monitor_host:
        logger.warning(f"{host.print_prefix}the monitor is left as it is: with --limit it is not known what workers to expect")
    with refusing():
        first = sum((each.first(run, local) for each in roles), State())
    observed = run.observed[host.name]
    packages = {package for each in roles for package in each.desired(run, local).packages}
    if packages - observed.packages:
        apply.perform(compare(first, observed))
    apply.bring_roles(run, *roles)
