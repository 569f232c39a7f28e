"""RabbitMQ, at the edge: one node after the other, and none while the others could not do without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeGuard

from pyinfra import logger
from pyinfra.context import host
from pyinfra.operations import server

from fleet.engine import apply, broker, checks
from fleet.engine.monitor import DebianRole
from fleet.engine.refusal import refusing
from fleet.engine.run import Run
from fleet.spec.rabbitmq import node
from fleet.state.desired import Entry, File
from fleet.state.diff import Changes, compare
from fleet.state.observed import ObservedMachine
from fleet.state.role import RunView


class RabbitRole(DebianRole, Protocol):
    """The face of RabbitMQ's role."""

    @property
    def UNIT(self) -> str: ...  # noqa: N802 - a constant of a module

    @property
    def TLS_FILES(self) -> Sequence[str]: ...  # noqa: N802

    @property
    def DEFINITIONS(self) -> str: ...  # noqa: N802

    def is_ours(self, observed: ObservedMachine) -> bool:
        """Whether an earlier deploy configured this machine's RabbitMQ."""

    def refuse_others_data(self) -> str:
        """sh that fails if another RabbitMQ has data on this machine."""

    def clear(self) -> str:
        """sh that stops what was here before, and listens everywhere."""

    def nodes(self, run: RunView) -> list[str]:
        """The names of all nodes."""

    def reach(self, nodes: list[str]) -> str:
        """sh that waits until this machine reaches one of these nodes. It fails if it does not."""

    def wait_until_whole(self, number: int) -> str:
        """sh that waits until so many nodes are up."""

    def spread(self, nodes: list[str]) -> str:
        """sh that has every queue on all nodes."""

    def wait_until_spare(self, nodes: list[str]) -> str:
        """sh that waits until the others can do without this node. It fails if they cannot."""

    def accept(self) -> str:
        """sh that brings the definitions on its stdin to a node that runs, besides what it has."""

    def settle(self, run: RunView) -> str:
        """sh that does the same, takes away users that are not among them, and keeps them in their file."""


def bring(run: Run, role: RabbitRole) -> None:
    """Declare RabbitMQ on its hosts, one after the other. Nothing on any other. Raises RefusedError if a host does not have its
    address.

    Passwords that RabbitMQ has accepted until now go on to be accepted: `settle` ends that.
    """
    if run.fleet.rabbitmq is None:
        return
    turns = order(run.fleet.broker_hosts, run.observed, role.UNIT)
    with refusing():
        changes = {name: compare(run.desired(role, run.fleet.hosts[name]), run.observed[name]) for name in turns}
        if host.name in turns:
            checks.refuse_foreign_address(run.fleet, host.name, run.observed[host.name])
            if role.is_ours(run.observed[host.name]):
                authorities = role.TLS_FILES[0]
                checks.refuse_new_authority(host.name, changes[host.name], authorities, run.is_whole)
                tls = run.fleet.rabbitmq.tls
                checks.refuse_closed_port(host.name, run.observed[host.name], tls, authorities, run.workers_run)
    if host.name in turns and not role.is_ours(run.observed[host.name]):
        server.shell(name="Check that no other RabbitMQ has data here", commands=[role.refuse_others_data()])
    if host.name in turns:
        _install_here(run, role, changes[host.name])
    if host.name in turns and _is_down(run, role, changes[host.name]):
        # A node that was not the last to stop waits for the one that was.
        server.shell(name="Start nodes of RabbitMQ that were stopped", commands=[f"systemctl start --no-block {role.UNIT}"])
    up = {name for name in turns if role.UNIT not in changes[name].start}
    for name in host.loop(turns):  # type: ignore[no-untyped-call]
        apply.phase(name=f"Bring up RabbitMQ on {name}")
        up.add(name)
        if name == host.name and changes[name]:
            _bring_here(run, role, changes[name], up)
    moving = [name for name in turns if role.UNIT in (*changes[name].start, *changes[name].restart)]
    if len(run.fleet.broker_hosts) > 1 and moving and host.name == turns[-1]:
        server.shell(name="Have every queue on all nodes", commands=[role.spread(role.nodes(run))])


def order(hosts: Iterable[str], observed: Mapping[str, ObservedMachine], unit: str) -> list[str]:
    """The broker's hosts that this run looks at, first those where it does not run: a cluster has to be whole before one of its
    nodes stops."""

    def runs(name: str) -> bool:
        return unit in observed[name].units and observed[name].units[unit].active

    return sorted((name for name in hosts if name in observed), key=runs)


def _is_down(run: Run, role: RabbitRole, changes: Changes) -> bool:
    """Whether it is a node of a cluster that was stopped."""
    is_installed = role.is_ours(run.observed[host.name]) and not changes.install
    return len(run.fleet.broker_hosts) > 1 and is_installed and role.UNIT in changes.start


def _install_here(run: Run, role: RabbitRole, changes: Changes) -> None:
    """On all machines at once: the package starts nothing before its configuration is there."""
    observed = run.observed[host.name]
    if not changes.install:
        return
    run.changed.add(host.name)
    if not role.is_ours(observed):
        server.shell(name="Stop a RabbitMQ that listens everywhere", commands=[role.clear()])
    apply.perform(compare(role.first(run, run.fleet.hosts[host.name]), observed))
    apply.perform(Changes(install=changes.install))


def _bring_here(run: Run, role: RabbitRole, changes: Changes, up: set[str]) -> None:
    """up: hosts whose nodes should be up then."""
    nodes = role.nodes(run)
    run.changed.add(host.name)
    apply.describe(changes)
    if not changes.install and not role.is_ours(run.observed[host.name]):
        server.shell(name="Stop a RabbitMQ that listens everywhere", commands=[role.clear()])
    if role.UNIT in changes.restart and len(nodes) > 1:
        server.shell(name="Wait until the other nodes can do without this one", commands=[role.wait_until_spare(nodes)])
    if role.UNIT in changes.start and (others := [node(run.fleet.address_of(name)) for name in sorted(up - {host.name})]):
        server.shell(name="Check that this host reaches the other nodes", commands=[role.reach(others)])
    now = tuple(entry for entry in changes.write if not _is_later(entry, run, role))
    apply.perform(replace(changes, install=(), write=now))
    if role.UNIT in (*changes.start, *changes.restart):
        server.shell(name="Wait until the node is up", commands=[role.wait_until_whole(len(up))])
    _accept(run, role, changes)


def accept(run: Run, role: RabbitRole) -> None:
    """Declare that RabbitMQ accepts the passwords that workers are to get, besides those before; nothing else of it changes."""
    if run.fleet.rabbitmq and host.name in run.fleet.broker_hosts:
        with refusing():
            changes = _changes(run, role)
        if role.UNIT not in changes.start:
            _accept(run, role, changes)


def settle(run: Run, role: RabbitRole) -> None:
    """Declare that RabbitMQ accepts the passwords of the secrets file alone. To be declared last, when every worker has them."""
    if not run.fleet.rabbitmq or host.name not in run.fleet.broker_hosts:
        return
    for entry in _changes(run, role).write:
        if _is_later(entry, run, role) and run.is_whole:
            server.shell(
                name="Accept the passwords of the secrets file alone",
                commands=[role.settle(run)],
                _stdin=apply.Hidden(entry.content.decode()),
                _if=broker.only_if_all_went_well(run, GOES_ON),
            )
        elif _is_later(entry, run, role):
            run.notes[f"{host.name}: {GOES_ON}, until a deploy without --limit"] = None


GOES_ON = "RabbitMQ goes on to accept the passwords before"


def _changes(run: Run, role: RabbitRole) -> Changes:
    return compare(run.desired(role, run.fleet.hosts[host.name]), run.observed[host.name])


def _is_later(entry: Entry, run: Run, role: RabbitRole) -> TypeGuard[File]:
    """Whether it is the file of definitions, of a node that has some: it is replaced when the node has nothing else."""
    return entry.path == role.DEFINITIONS and role.is_ours(run.observed[host.name])


def _accept(run: Run, role: RabbitRole, changes: Changes) -> None:
    for entry in changes.write:
        if _is_later(entry, run, role):
            run.changed.add(host.name)
            logger.info(f"{host.print_prefix}change users and policies of RabbitMQ, which goes on to run")
            server.shell(
                name="Bring new users and policies to RabbitMQ, besides those before",
                commands=[role.accept()],
                _stdin=apply.Hidden(entry.content.decode()),
            )
