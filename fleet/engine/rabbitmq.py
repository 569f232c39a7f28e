"""RabbitMQ, at the edge: one node after the other, and none while the others could not do without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from pyinfra.context import host
from pyinfra.operations import server

from fleet.engine import apply, checks
from fleet.engine.monitor import DebianRole
from fleet.engine.refusal import refusing
from fleet.engine.run import Run
from fleet.state.desired import File
from fleet.state.diff import Changes, compare
from fleet.state.observed import ObservedMachine
from fleet.state.role import RunView


class RabbitRole(DebianRole, Protocol):
    """The face of RabbitMQ's role."""

    @property
    def UNIT(self) -> str: ...  # noqa: N802 - a constant of a module

    @property
    def DEFINITIONS(self) -> str: ...  # noqa: N802

    def is_ours(self, observed: ObservedMachine) -> bool:
        """Whether an earlier deploy configured this machine's RabbitMQ."""

    def refuse_others_data(self, name: str) -> str:
        """sh that fails if another RabbitMQ has data on this machine. name: of our node."""

    def nodes(self, run: RunView) -> list[str]:
        """The names of all nodes."""

    def wait_until_whole(self, number: int) -> str:
        """sh that waits until so many nodes are up."""

    def spread(self, nodes: list[str]) -> str:
        """sh that has every queue on all nodes."""

    def wait_until_spare(self, nodes: list[str]) -> str:
        """sh that waits until the others can do without this node. It fails if they cannot."""

    def redefine(self, run: RunView) -> str:
        """sh that brings the definitions on its stdin to the node, takes away users that are not in them, and keeps the file."""


def bring(run: Run, role: RabbitRole) -> None:
    """Declare RabbitMQ on its hosts, one after the other. Nothing on any other. Raises RefusedError if a host does not have its
    address."""
    if run.fleet.rabbitmq is None:
        return
    turns = order(run.fleet.broker_hosts, run.observed, role.UNIT)
    with refusing():
        changes = {name: compare(run.desired(role, run.fleet.hosts[name]), run.observed[name]) for name in turns}
        if host.name in turns:
            checks.refuse_foreign_address(run.fleet, host.name, run.observed[host.name])
    if host.name in turns and not role.is_ours(run.observed[host.name]):
        node = role.nodes(run)[run.fleet.broker_hosts.index(host.name)]
        server.shell(name="Check that no other RabbitMQ has data here", commands=[role.refuse_others_data(node)])
    up = {name for name in turns if role.UNIT not in changes[name].start}
    for name in host.loop(turns):  # type: ignore[no-untyped-call]
        apply.phase(name=f"Bring up RabbitMQ on {name}")
        up.add(name)
        if name == host.name and changes[name]:
            _bring_here(run, role, changes[name], len(up))
    moving = [name for name in turns if role.UNIT in (*changes[name].start, *changes[name].restart)]
    if len(run.fleet.broker_hosts) > 1 and moving and host.name == turns[-1]:
        server.shell(name="Have every queue on all nodes", commands=[role.spread(role.nodes(run))])


def order(hosts: Iterable[str], observed: Mapping[str, ObservedMachine], unit: str) -> list[str]:
    """The broker's hosts that this run looks at, first those where it does not run: a cluster has to be whole before one of its
    nodes stops."""

    def runs(name: str) -> bool:
        return unit in observed[name].units and observed[name].units[unit].active

    return sorted((name for name in hosts if name in observed), key=runs)


def _bring_here(run: Run, role: RabbitRole, changes: Changes, number: int) -> None:
    """number: of nodes that should be up then."""
    observed, nodes = run.observed[host.name], role.nodes(run)
    run.changed.add(host.name)
    apply.describe(changes)
    if changes.install:
        apply.perform(compare(role.first(run, run.fleet.hosts[host.name]), observed))
    if role.UNIT in changes.restart and len(nodes) > 1:
        server.shell(name="Wait until the other nodes can do without this one", commands=[role.wait_until_spare(nodes)])
    # A file that is there says what the node has: it is replaced when the node has something else.
    later = [entry for entry in changes.write if entry.path == role.DEFINITIONS and role.is_ours(observed)]
    apply.perform(replace(changes, write=tuple(entry for entry in changes.write if entry not in later)))
    if role.UNIT in (*changes.start, *changes.restart):
        server.shell(name="Wait until the node is up", commands=[role.wait_until_whole(number)])
    for entry in later:
        assert isinstance(entry, File)  # noqa: S101 - the role says so
        server.shell(name="Change users and policies", commands=[role.redefine(run)], _stdin=apply.Hidden(entry.content.decode()))
