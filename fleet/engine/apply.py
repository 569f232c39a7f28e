"""The edge to pyinfra: operations, and only for what differs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any

from pyinfra import logger
from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import python, server

from fleet.engine.refusal import refusing
from fleet.engine.run import Run
from fleet.lint import lint
from fleet.lint.app import AppError
from fleet.lint.app import parse as parse_app
from fleet.plan import process
from fleet.spec.fleet import Host
from fleet.state import archive, release
from fleet.state.desired import State
from fleet.state.diff import Changes, compare
from fleet.state.observed import ObservedMachine
from fleet.state.paths import BEAT_UNIT
from fleet.state.role import Role
from fleet.state.systemctl import activate, disable, words


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


def bring(desired: State, observed: ObservedMachine) -> Changes:
    """Declare what brings this host from `observed` to `desired`: at most one operation a kind of change."""
    changes = compare(desired, observed)
    describe(changes)
    perform(changes)
    return changes


def describe(changes: Changes) -> None:
    """Print what changes on this host, a line a kind of change."""
    for line in changes.describe():
        logger.info(f"{host.print_prefix}{line}")


def bring_roles(run: Run, *roles: Role) -> None:
    """Declare what these roles want of this host."""
    local = run.fleet.hosts[host.name]
    with refusing():
        desired = sum((run.desired(role, local) for role in roles), State())
    if bring(desired, run.observed[host.name]):
        run.changed.add(host.name)


def perform(changes: Changes) -> None:
    """Declare these changes of this host, in their order."""
    if changes.install:
        server.shell(name="Install Debian packages", commands=[_install(changes.install)])
    if changes.users:
        server.shell(name="Create the system user", commands=[_create(user.name, user.home) for user in changes.users])
    if changes.stop:
        server.shell(name="Stop workers that were removed", commands=[disable(changes.stop)])
    if changes.remove:
        server.shell(name="Remove files that are not needed any more", commands=[f"rm -f {words(changes.remove)}"])
    if changes.write:
        server.shell(
            name="Write changed files", commands=[archive.UNPACK], _stdin=Hidden(archive.as_text(archive.pack(changes.write)))
        )
    if changes.reload:
        server.shell(name="Reload systemd", commands=["systemctl daemon-reload"])
    if changes.restart:
        server.shell(name="Restart outdated services", commands=[activate("restart", changes.restart)])
    if changes.start:
        # A service is restarted, since the package may have started Redis meanwhile, with its own configuration. A target is
        # not: that would restart all that is part of it.
        services = [name for name in changes.start if name.endswith(".service")]
        targets = [name for name in changes.start if name not in services]
        commands = [*([activate("restart", services)] if services else []), *([activate("start", targets)] if targets else [])]
        server.shell(name="Start services", commands=commands)


def prepare_release(run: Run, role: Role, beat: Role) -> None:
    """Declare that this host gets its release, and that the app imports there and fits. role: of the workers.

    Nothing that runs is touched: a release that does not build or import stops the run before any worker's unit changes.
    """
    local = run.fleet.hosts[host.name]
    if not local.workers and local.name not in run.fleet.beat_hosts:
        return
    observed = run.observed[host.name]
    with refusing():
        new = run.release_of(local)
        changes = compare(run.desired(role, local), observed)
        of_beat = compare(run.desired(beat, local), observed)
    if not new.is_built(observed):
        run.changed.add(host.name)
        logger.info(f"{host.print_prefix}build release {new.id}")
        server.shell(
            name="Build the release",
            commands=[release.build_command(new, local.settings.releases_kept)],
            _stdin=Hidden(run.archive_of(new)),
        )
    environments = [process.environment(run.plan, local, name, run.secrets) for name in roles_that_change(local, changes)]
    if BEAT_UNIT in (*of_beat.start, *of_beat.restart):
        environments.append(process.beat_environment(run.plan, local, run.secrets))
    for environment in environments:
        described = server.shell(
            name="Check that the app imports",
            commands=[release.check_command(new)],
            _stdin=Hidden(process.as_lines(environment)),
        )
        python.call(name="Check the app's settings against the fleet's", function=_judge, run=run, described=described)


def _judge(state: Any, host: Any, run: Run, described: Any) -> bool:
    """Whether the app, as it described itself on this host, keeps to the rules. Nothing that runs has been touched yet."""
    try:
        findings = run.findings_of(described.stdout, lambda output: lint(run.plan, (parse_app(output),)))
    except AppError as error:
        report_error(run, host, str(error))
        return False
    errors = [finding for finding in findings if finding.is_error]
    for finding in errors:
        report_error(run, host, str(finding))
    look = f"deploy: {run.fleet.hosts[host.name].settings.celery_app}"
    run.note_findings(look, (finding for finding in findings if finding not in errors))
    return not errors


def report_error(run: Run, host: Any, text: str) -> None:
    """Print why a host fails, and keep it for the history."""
    logger.error(f"{host.print_prefix}{text}")
    run.errors[f"{host.name}: {text}"] = None


def roles_that_change(host: Host, changes: Changes) -> list[str]:
    """The worker roles of a host of which some instance is to be started or restarted."""
    units = (*changes.start, *changes.restart)
    return [role for role in host.workers if any(unit.startswith(f"celery-{role}@") for unit in units)]


def _install(packages: Iterable[str]) -> str:
    # A fresh machine may be at its own upgrades: wait for the lock.
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300"
    install = f"{apt} install -y --no-install-recommends -o Dpkg::Options::=--force-confold {words(packages)}"
    # The lists may be older than what the mirror still has: then update them and try once more.
    return f"{install} || {{ {apt} update && {install}; }}"


def _create(user: str, home: str) -> str:
    return f"useradd --system --user-group --home-dir {home} --no-create-home --shell /usr/sbin/nologin {user}"
