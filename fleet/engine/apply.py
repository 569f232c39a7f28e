"""The edge to pyinfra: operations, and only for what differs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

from pyinfra import logger
from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import python, server

from fleet.engine.run import FleetError, tell
from fleet.engine.target import release_of
from fleet.lint import Finding, app, lint
from fleet.plan.plan import Plan
from fleet.spec.fleet import Fleet, Host
from fleet.state import archive, release
from fleet.state.desired import State
from fleet.state.diff import Changes, compare
from fleet.state.observed import ObservedMachine
from fleet.state.systemctl import activate, words
from roles import broker, worker


class Hidden:
    """A command's stdin that pyinfra shows nothing of (--debug-operations prints every argument)."""

    def __init__(self, text: str) -> None:
        self._text = text

    def readlines(self) -> list[str]:
        """What pyinfra writes to the command."""
        return [self._text]

    def __iter__(self) -> Iterator[str]:
        return iter(self.readlines())

    def to_json(self) -> str:
        """What pyinfra shows."""
        return repr(self)

    def __repr__(self) -> str:
        return f"<{len(self._text)} characters, hidden>"


@operation(is_idempotent=False)
def phase() -> Generator[str, None, None]:
    """Nothing: an operation that every host has, so that no host enters a phase before all have left the one before.

    pyinfra orders operations by each host's own list alone; those on a subset of the hosts are no barrier.
    """
    yield from ()


changing: list[str] = []
"""Hosts of which something changes in this run."""


def bring(wanted: State, seen: ObservedMachine) -> Changes:
    """Declare what brings this host from `seen` to `wanted`: at most one operation a kind of change."""
    changes = compare(wanted, seen)
    for line in changes.describe():
        logger.info(f"{host.print_prefix}{line}")
    perform(changes)
    return changes


def perform(changes: Changes) -> None:
    """Declare these changes of this host, in their order."""
    if changes:
        changing.append(host.name)
    if changes.install:
        server.shell(name="Install Debian packages", commands=[_install(changes.install)])
    if changes.users:
        server.shell(name="Create the system user", commands=[_create(user.name, user.home) for user in changes.users])
    if changes.stop:
        server.shell(name="Stop workers that are no longer wanted", commands=[f"systemctl disable --now {words(changes.stop)}"])
    if changes.remove:
        server.shell(name="Remove files that are no longer wanted", commands=[f"rm -f {words(changes.remove)}"])
    if changes.write:
        server.shell(
            name="Write changed files", commands=[archive.UNPACK], _stdin=Hidden(archive.as_text(archive.pack(changes.write)))
        )
    if changes.reload:
        server.shell(name="Reload systemd", commands=["systemctl daemon-reload"])
    if changes.restart:
        server.shell(name="Restart what runs another revision", commands=[activate("restart", changes.restart)])
    if changes.start:
        # A service is restarted, since the package may have started Redis meanwhile, with its own configuration. A target is
        # not: that would restart all that is part of it.
        services = [name for name in changes.start if name.endswith(".service")]
        targets = [name for name in changes.start if name not in services]
        commands = [*([activate("restart", services)] if services else []), *([activate("start", targets)] if targets else [])]
        server.shell(name="Start services", commands=commands)


_workers: dict[str, State] = {}


def workers_of(plan: Plan, one: Host, found: Mapping[str, str]) -> State:
    """The state of a host's workers. Rendered once: the host itself asks for it, and the rollout for every host's."""
    if one.name not in _workers:
        _workers[one.name] = worker.desired(plan, one, release_of(plan, one), found)
    return _workers[one.name]


def prepare_workers(plan: Plan, me: Host, found: Mapping[str, str], seen: ObservedMachine) -> State:
    """Declare that this host gets its release, and that the app imports there and fits. Returns the state of its workers.

    Nothing that runs is touched: a release that does not build or import stops the run before any worker's unit changes.
    """
    if not me.workers:
        return worker.NONE
    new = release_of(plan, me)
    wanted = workers_of(plan, me, found)
    if not new.is_built(seen):
        changing.append(host.name)
        logger.info(f"{host.print_prefix}build release {new.id}")
        server.shell(
            name="Build the release",
            commands=[release.build_command(new, me.settings.releases_kept)],
            _stdin=Hidden(archive.as_text(new.archive())),
        )
    for role in roles_that_change(me, compare(wanted, seen)):
        variables = worker.environment(plan, me, role, found)
        described = server.shell(
            name="Check that the app imports",
            commands=[release.check_command(new)],
            _stdin=Hidden("".join(f"{name}={value}\n" for name, value in variables.items())),
        )
        python.call(name="Check the app's settings against the fleet's", function=_judge, plan=plan, described=described)
    return wanted


_findings: dict[str, tuple[Finding, ...]] = {}


def _judge(state: Any, host: Any, plan: Plan, described: Any) -> bool:
    """Whether the app, as it described itself on this host, keeps to the rules. Nothing that runs has been touched yet."""
    said = described.stdout
    try:
        if said not in _findings:  # most hosts say the same, and a rule looks at all of them
            _findings[said] = lint(plan, (app.parse(said),))
    except app.AppError as error:
        logger.error(f"{host.print_prefix}{error}")
        return False
    findings = _findings[said]
    errors = [finding for finding in findings if finding.level == "error" and finding.counts]
    for error_found in errors:
        logger.error(f"{host.print_prefix}{error_found}")
    tell(finding for finding in findings if finding not in errors)
    return not errors


def bring_broker(fleet: Fleet, me: Host, found: Mapping[str, str], seen: ObservedMachine) -> None:
    """Declare the broker. Raises FleetError where the machine has not the address that workers are told."""
    if seen.addresses and fleet.broker_address not in seen.addresses:
        raise FleetError(
            f"{me.name}.lan_address: {fleet.broker_address} is no address of this machine ({' '.join(seen.addresses)})"
        )
    if not broker.is_ours(seen):
        server.shell(name="Check that no other Redis has data here", commands=[broker.refuse_others_data()])
    bring(broker.desired(fleet, found, seen), seen)


def roles_that_change(me: Host, changes: Changes) -> list[str]:
    """The roles of this host of which some instance is to be started or restarted."""
    units = (*changes.start, *changes.restart)
    return [role for role in me.workers if any(unit.startswith(f"celery-{role}@") for unit in units)]


def _install(packages: Iterable[str]) -> str:
    # A fresh machine may be at its own upgrades: wait for the lock.
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300"
    install = f"{apt} install -y --no-install-recommends -o Dpkg::Options::=--force-confold {words(packages)}"
    # The lists may be too old for what the mirror still has: then get them and try once more.
    return f"{install} || {{ {apt} update && {install}; }}"


def _create(user: str, home: str) -> str:
    return f"useradd --system --user-group --home-dir {home} --no-create-home --shell /usr/sbin/nologin {user}"
