"""The broker, at the edge: nothing of anybody else's is taken over."""

from __future__ import annotations

from typing import Protocol

from pyinfra.context import host
from pyinfra.operations import server

from fleet.engine import apply, checks
from fleet.engine.refusal import refusing
from fleet.engine.run import Run
from fleet.state.observed import ObservedMachine
from fleet.state.role import Role


class BrokerRole(Role, Protocol):
    """The face of the broker's role."""

    def is_ours(self, observed: ObservedMachine) -> bool:
        """Whether an earlier deploy configured this machine's Redis."""

    def refuse_others_data(self) -> str:
        """sh that fails if another Redis has data on this machine."""


def bring(run: Run, role: BrokerRole) -> None:
    """Declare the broker on its host; nothing on any other. Raises RefusedError if the host does not have its address."""
    if run.fleet.redis is None or host.name != run.fleet.broker_host:
        return
    observed = run.observed[host.name]
    with refusing():
        checks.refuse_foreign_address(run.fleet, host.name, observed)
    if not role.is_ours(observed):
        server.shell(name="Check that no other Redis has data here", commands=[role.refuse_others_data()])
    apply.bring_roles(run, role)
