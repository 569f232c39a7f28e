"""The broker, at the edge: nothing of anybody else's is taken over, and passwords change while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from pyinfra import logger
from pyinfra.context import ctx_state, host
from pyinfra.operations import python, server

from fleet.engine import apply, checks
from fleet.engine.refusal import refusing
from fleet.engine.run import Run
from fleet.spec.fleet import Host
from fleet.state.diff import Changes, compare
from fleet.state.observed import ObservedMachine
from fleet.state.redis_users import Users
from fleet.state.role import Role, RunView

GOES_ON = "Redis goes on to accept the passwords before"


class BrokerRole(Role, Protocol):
    """The face of the broker's role."""

    @property
    def TLS_FILES(self) -> Sequence[str]: ...  # noqa: N802 - a constant of a module

    def is_ours(self, observed: ObservedMachine) -> bool:
        """Whether an earlier deploy configured this machine's Redis."""

    def refuse_others_data(self) -> str:
        """sh that fails if another Redis has data on this machine."""

    def users(self, run: RunView, host: Host) -> Users | None:
        """The users of the Redis on a host, which change while it runs; None if there is none."""


def bring(run: Run, role: BrokerRole) -> None:
    """Declare the broker on its host; nothing on any other. Raises RefusedError if the host does not have its address.

    Passwords that Redis has accepted until now go on to be accepted: `settle` ends that.
    """
    if run.fleet.redis is None or host.name != run.fleet.broker_host:
        return
    observed = run.observed[host.name]
    with refusing():
        checks.refuse_foreign_address(run.fleet, host.name, observed)
        changes = _changes(run, role)
        if role.is_ours(observed):
            checks.refuse_new_authority(host.name, changes, role.TLS_FILES[0], run.is_whole)
            checks.refuse_closed_port(host.name, observed, run.fleet.redis.tls, role.TLS_FILES[0], run.workers_run)
    if not role.is_ours(observed):
        server.shell(name="Check that no other Redis has data here", commands=[role.refuse_others_data()])
        apply.bring_roles(run, role)
        return
    apply.describe(changes)
    _accept(run, role, changes)
    if changes:
        run.changed.add(host.name)
    apply.perform(_without_users(changes, role, run))


def accept(run: Run, role: BrokerRole) -> None:
    """Declare that Redis accepts the passwords that workers are to get, besides those before; nothing else of it changes."""
    if host.name == run.fleet.broker_host and role.is_ours(run.observed[host.name]):
        with refusing():
            changes = _changes(run, role)
        users = role.users(run, run.fleet.hosts[host.name])
        if users and users.path in [entry.path for entry in changes.write] and not (changes.restart or changes.start):
            logger.info(f"{host.print_prefix}write {users.path}")
            _accept(run, role, changes)


def settle(run: Run, role: BrokerRole) -> None:
    """Declare that Redis accepts the passwords of the secrets file alone. To be declared last, when every worker has them."""
    if host.name != run.fleet.broker_host or not role.is_ours(run.observed[host.name]):
        return
    users = role.users(run, run.fleet.hosts[host.name])
    if users is None or users.path not in [entry.path for entry in _changes(run, role).write]:
        return
    if not run.is_whole:
        run.notes[f"{host.name}: {GOES_ON}, until a deploy without --limit"] = None
        return
    done = server.shell(
        name="Accept the passwords of the secrets file alone",
        commands=[users.settle()],
        _stdin=apply.Hidden(users.input),
        _if=only_if_all_went_well(run, GOES_ON),
    )
    python.call(name="Report which passwords are accepted", function=_report, done=done)


def _changes(run: Run, role: BrokerRole) -> Changes:
    return compare(run.desired(role, run.fleet.hosts[host.name]), run.observed[host.name])


def _without_users(changes: Changes, role: BrokerRole, run: Run) -> Changes:
    users = role.users(run, run.fleet.hosts[host.name])
    return replace(changes, write=tuple(entry for entry in changes.write if not users or entry.path != users.path))


def _accept(run: Run, role: BrokerRole, changes: Changes) -> None:
    users = role.users(run, run.fleet.hosts[host.name])
    if users is None or users.path not in [entry.path for entry in changes.write]:
        return
    is_live = not (changes.restart or changes.start)
    if is_live:
        logger.info(f"{host.print_prefix}change passwords of Redis, which goes on to run")
    run.changed.add(host.name)
    done = server.shell(
        name="Accept new passwords of Redis, besides those before",
        commands=[users.accept(is_live)],
        _stdin=apply.Hidden(users.input),
    )
    python.call(name="Report which passwords are accepted", function=_report, done=done)


def _report(state: Any, host: Any, done: Any) -> bool:
    for line in done.stdout.splitlines():
        logger.info(f"{host.print_prefix}Redis {line}")
    return True


def only_if_all_went_well(run: Run, otherwise: str) -> Callable[[], bool]:
    """A condition of an operation on this host: the whole fleet has the new passwords, as far as this run knows. otherwise: what
    the user reads if not."""

    state, name = ctx_state.get(), host.name  # type: ignore[no-untyped-call]

    def went_well() -> bool:
        if state.failed_hosts or not run.all_well:  # with --fail-percent, pyinfra goes on without some
            run.notes[f"{name}: {otherwise}, because not all went well"] = None
            return False
        return True

    return went_well
