"""The edge to pyinfra: one probe a host, and operations only for what differs."""

from __future__ import annotations

import atexit
import shlex
from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gevent.lock import Semaphore
from gevent.pool import Pool
from pyinfra import logger
from pyinfra.api.exceptions import FactProcessError, PyinfraError
from pyinfra.api.facts import FactBase, get_fact
from pyinfra.api.operation import operation
from pyinfra.context import ctx_host, host, inventory, state
from pyinfra.operations import python, server

from fleet import app, rollout, secrets, spec
from fleet.lint import Finding, lint
from fleet.lint.finding import some
from fleet.plan import Plan, resolved
from fleet.rollout import Instance, Step
from fleet.spec import Fleet, Host
from roles import archive, broker, machine, probe, release, worker
from roles import roll as roll_step
from roles.diff import Changes, compare
from roles.gather import gather
from roles.progress import Progress
from roles.state import State


class FleetError(PyinfraError):
    """A mistake of the user's, found before anything changed. pyinfra prints it without a traceback and exits 1."""


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


class Probe(FactBase[probe.Machine]):
    """All we need to know of a machine, by one command."""

    def command(self) -> str:
        return "sh -c " + shlex.quote(probe.command((*machine.PACKAGES, *broker.PACKAGES), (machine.USER,)))

    def process(self, output: Iterable[str]) -> probe.Machine:
        try:
            return probe.parse(output)
        except ValueError as error:
            raise FactProcessError(str(error)) from error


@cache
def load() -> tuple[Fleet, Mapping[str, str]]:
    """The whole fleet, validated, and its secrets: once a run, before any machine is asked. Raises FleetError."""
    try:
        fleet = spec.load(gather(inventory))
        path = Path(fleet.hosts[fleet.broker_host].settings.secrets_file)
        found = secrets.read(path)
        wanted = [name for one in fleet.hosts.values() for role in one.workers.values() for name in role.secrets]
        secrets.require(path, found, [*secrets.BROKER_NAMES, *dict.fromkeys(wanted)])
    except (spec.SpecError, secrets.SecretsError) as error:
        mistakes = str(error).splitlines()
        raise FleetError("\n    ".join([f"{len(mistakes)} mistake(s), nothing was changed:", *mistakes])) from None
    state.add_callback_handler(Progress())  # type: ignore[no-untyped-call]
    return fleet, found


_one_at_a_time = Semaphore()
_seen: dict[str, probe.Machine] = {}
_plan: list[Plan] = []


def survey() -> tuple[probe.Machine, Plan]:
    """What this host's probe saw, and the plan of the whole fleet. Raises FleetError where a rule across settings is broken.

    Whoever comes first probes every host, at once: a rule needs them all. (To wait for each host's own turn would lock up where
    there are more hosts than pyinfra works on at a time.)
    """
    with _one_at_a_time:
        if not _plan:
            hosts = inventory.get_active_hosts()
            for name, machine_seen in Pool(max(1, len(hosts))).imap_unordered(_ask, hosts):
                _seen[name] = machine_seen
            _plan.append(_resolve(load()[0]))
    return _seen[host.name], _plan[0]


def _ask(one: Any) -> tuple[str, probe.Machine]:
    with ctx_host.use(one):
        return one.name, get_fact(state, one, Probe)


def _resolve(fleet: Fleet) -> Plan:
    silent = [name for name, seen in _seen.items() if seen is None or not (seen.cores and seen.memory)]
    if silent:
        raise FleetError(
            f"{', '.join(silent)}: does not say what it has (cores by nproc, memory by /proc/meminfo); nothing was changed"
        )
    # In the inventory's order, whoever answered first: what is sized must be the same in every run.
    plan = resolved(fleet, {name: _seen[name].facts for name in fleet.hosts if name in _seen})
    findings = lint(plan)
    errors = [finding for finding in findings if finding.level == "error" and finding.counts]
    if errors:
        raise FleetError(
            "\n    ".join([f"{len(errors)} mistake(s) across the settings, nothing was changed:", *map(str, errors)])
        )
    _tell(findings)
    return plan


_told: dict[Finding, None] = {}


def _tell(findings: Iterable[Finding]) -> None:
    """Keep what is no error for the end of the run, where it is read; said once, whatever number of hosts finds it."""
    if not _told:
        atexit.register(_list)
    _told.update(dict.fromkeys(findings))


def _list() -> None:
    for finding in _told:
        said = f"silenced, since {finding.silenced}" if finding.silenced else finding.level
        logger.info(f"--> {said}: {finding}")


@operation(is_idempotent=False)
def phase() -> Generator[str, None, None]:
    """Nothing: an operation that every host has, so that no host enters a phase before all have left the one before.

    pyinfra orders operations by each host's own list alone; those on a subset of the hosts are no barrier.
    """
    yield from ()


def bring(wanted: State, seen: probe.Machine) -> Changes:
    """Declare what brings this host from `seen` to `wanted`: at most one operation a kind of change."""
    changes = compare(wanted, seen)
    for line in changes.describe():
        logger.info(f"{host.print_prefix}{line}")
    _perform(changes)
    return changes


def _perform(changes: Changes) -> None:
    if changes.install:
        server.shell(name="Install Debian packages", commands=[_install(changes.install)])
    if changes.users:
        server.shell(name="Create the system user", commands=[_create(user.name, user.home) for user in changes.users])
    if changes.stop:
        server.shell(name="Stop workers that are no longer wanted", commands=[f"systemctl disable --now {_words(changes.stop)}"])
    if changes.remove:
        server.shell(name="Remove files that are no longer wanted", commands=[f"rm -f {_words(changes.remove)}"])
    if changes.write:
        server.shell(
            name="Write changed files", commands=[archive.UNPACK], _stdin=Hidden(archive.as_text(archive.pack(changes.write)))
        )
    if changes.reload:
        server.shell(name="Reload systemd", commands=["systemctl daemon-reload"])
    if changes.restart:
        server.shell(name="Restart what runs another revision", commands=[_activate("restart", changes.restart)])
    if changes.start:
        # A service is restarted, since the package may have started Redis meanwhile, with its own configuration. A target is
        # not: that would restart all that is part of it.
        services = [name for name in changes.start if name.endswith(".service")]
        targets = [name for name in changes.start if name not in services]
        commands = [*([_activate("restart", services)] if services else []), *([_activate("start", targets)] if targets else [])]
        server.shell(name="Start services", commands=commands)


_steps: list[tuple[Step, ...]] = []


def roll(plan: Plan, me: Host, found: Mapping[str, str], wanted: State, seen: probe.Machine) -> None:
    """Declare the rollout: in steps that every host leaves together, so that one that fails leaves those after it untouched.

    Only workers that run something else than they should are restarted, by what runs and not by what was written: a rollout that
    was cut off is finished by the next.
    """
    with _one_at_a_time:
        if not _steps:
            _steps.append(rollout.steps(*_waiting(plan, found), plan))
    steps = _steps[0]
    mine = [one.unit for step in steps for one in step.instances if one.host == me.name]
    changes = compare(wanted, seen)
    for line in changes.describe():
        logger.info(f"{host.print_prefix}{line}")
    _perform(roll_step.besides(changes, wanted, mine))
    for number, step in enumerate(host.loop(steps), 1):  # type: ignore[no-untyped-call]
        phase(name=f"Step {number} of {len(steps)}: {_described(step)}")
        units = [one.unit for one in step.instances if one.host == me.name]
        if units:
            entries = roll_step.files(wanted, units)
            server.shell(
                name="Restart workers",
                commands=[roll_step.command(units, entries, archive.UNPACK)],
                _stdin=Hidden(archive.as_text(archive.pack(entries))),
            )
    if targets := [name for name in changes.start if not name.endswith(".service")]:
        server.shell(name="Start services", commands=[_activate("start", targets)])


def restart(plan: Plan, me: Host, seen: probe.Machine, role: str | None) -> None:
    """Declare that every running worker (of `role`, where one is named) is restarted as it is, in steps."""
    if role is not None and role not in plan.roles:
        raise FleetError(f"role: no role {role}; the roles are {', '.join(plan.roles)}")
    with _one_at_a_time:
        if not _steps:
            running = [one for one in rollout.instances(plan, _seen) if role in (None, one.role) and _runs(one)]
            _steps.append(rollout.steps(running, (), plan))
    for number, step in enumerate(host.loop(_steps[0]), 1):  # type: ignore[no-untyped-call]
        phase(name=f"Step {number} of {len(_steps[0])}: {_described(step)}")
        units = [one.unit for one in step.instances if one.host == me.name]
        if units:
            server.shell(name="Restart workers", commands=[roll_step.restart_command(units)])


def _runs(one: Instance) -> bool:
    unit = _seen[one.host].units.get(one.unit)
    return unit is not None and unit.active


def _waiting(plan: Plan, found: Mapping[str, str]) -> tuple[list[Instance], list[Instance]]:
    """Who is to be restarted, and who is to be started, on all the hosts that were asked, in the inventory's order."""
    changes = {
        name: compare(worker.desired(plan, one, _release(plan, one), found), _seen[name])
        for name, one in plan.fleet.hosts.items()
        if name in _seen and one.workers
    }
    everyone = rollout.instances(plan, changes)
    return (
        [one for one in everyone if one.unit in changes[one.host].restart],
        [one for one in everyone if one.unit in changes[one.host].start],
    )


def _release(plan: Plan, one: Host) -> release.Release:
    try:
        return release.of(one.settings, plan.fleet.pools, machine.python(_seen[one.name]))
    except ValueError as error:
        raise FleetError(f"{one.name}: {error}") from None


def _described(step: Step) -> str:
    waits = f" ({', '.join(step.bare)} wait meanwhile)" if step.bare else ""
    return ("canary: " if step.canary else "") + some([str(one) for one in step.instances]) + waits


def prepare_workers(plan: Plan, me: Host, found: Mapping[str, str], seen: probe.Machine) -> State:
    """Declare that this host gets its release, and that the app imports there and fits. Returns the state of its workers.

    Nothing that runs is touched: a release that does not build or import stops the run before any worker's unit changes.
    """
    if not me.workers:
        return worker.NONE
    new = _release(plan, me)
    wanted = worker.desired(plan, me, new, found)
    if not new.is_built(seen):
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


def _judge(state: Any, host: Any, plan: Plan, described: Any) -> bool:
    """Whether the app, as it described itself on this host, keeps to the rules. Nothing that runs has been touched yet."""
    try:
        said = app.parse(described.stdout)
    except app.AppError as error:
        logger.error(f"{host.print_prefix}{error}")
        return False
    findings = lint(plan, (said,))
    errors = [finding for finding in findings if finding.level == "error" and finding.counts]
    for error_found in errors:
        logger.error(f"{host.print_prefix}{error_found}")
    _tell(finding for finding in findings if finding not in errors)
    return not errors


def bring_broker(fleet: Fleet, me: Host, found: Mapping[str, str], seen: probe.Machine) -> None:
    """Declare the broker. Raises FleetError where the machine has not the address that workers are told."""
    if seen.addresses and fleet.broker_address not in seen.addresses:
        raise FleetError(
            f"{me.name}.lan_address: {fleet.broker_address} is no address of this machine ({' '.join(seen.addresses)})"
        )
    if not broker.is_ours(seen):
        server.shell(name="Check that no other Redis has data here", commands=[broker.REFUSE_OTHERS_DATA])
    bring(broker.desired(fleet, found, seen), seen)


def roles_that_change(me: Host, changes: Changes) -> list[str]:
    """The roles of this host of which some instance is to be started or restarted."""
    units = (*changes.start, *changes.restart)
    return [role for role in me.workers if any(unit.startswith(f"celery-{role}@") for unit in units)]


def _words(names: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, names))


def _install(packages: Iterable[str]) -> str:
    # A fresh machine may be at its own upgrades: wait for the lock.
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300"
    install = f"{apt} install -y --no-install-recommends -o Dpkg::Options::=--force-confold {_words(packages)}"
    # The lists may be too old for what the mirror still has: then get them and try once more.
    return f"{install} || {{ {apt} update && {install}; }}"


def _create(user: str, home: str) -> str:
    return f"useradd --system --user-group --home-dir {home} --no-create-home --shell /usr/sbin/nologin {user}"


def _activate(verb: str, units: Iterable[str]) -> str:
    names = _words(units)
    return (
        f"systemctl enable --quiet {names}; systemctl {verb} {names} || {{ for unit in {names}; do "
        'systemctl is-active --quiet $unit || { echo "$unit did not come up; the end of its journal:"; '
        "journalctl --no-pager -o cat -n 15 -u $unit; }; done >&2; exit 1; }"
    )
