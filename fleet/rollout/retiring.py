"""What `fleet retire` asks of machines: what is there, to drain and remove it, and to give back what others held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.errors import FleetError
from fleet.inventory import ssh
from fleet.plan import process
from fleet.plan.plan import resolved
from fleet.rollout import retire
from fleet.rollout.recorded import recorded
from fleet.spec import secrets
from fleet.spec.fleet import Fleet, Inventory
from fleet.state import release, retirement
from fleet.state.release import Release
from fleet.state.retirement import Installed, Removal
from fleet_node.protocol import RetiredWorkers

Say = Callable[[str], None]

MOST_ASKED = 5
"""Machines that are asked to give back what was held, until one can."""


class RetireError(FleetError):
    """The machine stays as it is, or is not done. str() is what the user reads."""


class SilentError(FleetError):
    """The machine does not answer over SSH. str() says why."""


@dataclass
class Retirement:
    """What one command is about, and what it has done so far.

    hostname: what the machine calls itself; empty if that is its name in the inventory. abandoned: queues that may be left. say:
    takes progress. notes: lines for the history.
    """

    file: Path
    inventory: Inventory
    fleet: Fleet
    host: str
    role: str | None
    hostname: str
    abandoned: frozenset[str]
    say: Say
    notes: list[str] = field(default_factory=list)

    @property
    def what(self) -> str:
        """The machine, or its role, for people."""
        return f"{self.role} on {self.host}" if self.role else self.host

    @property
    def records(self) -> tuple[str, Mapping[str, Any]]:
        """The host of lock and history, and its data in the inventory."""
        return self.fleet.records_host, self.inventory.hosts[self.fleet.records_host]

    def note(self, line: str) -> None:
        """Something that happened: for the user now, and for the history."""
        self.notes.append(line)
        self.say(line)


def survey(work: Retirement, host: str) -> Installed:
    """What the machine has. Raises SilentError, and RetireError if it answers something else."""
    data = work.inventory.hosts[host]
    try:
        done = ssh.run(host, data, ssh.as_root(data, retirement.survey_command()))
    except ssh.SSHError as error:
        raise SilentError(str(error)) from None
    complaint = (done.stderr.strip().splitlines() or ["no answer over SSH"])[-1]
    if done.returncode == 255:
        raise SilentError(complaint)
    try:
        return retirement.parse(done.stdout.splitlines())
    except ValueError as error:
        raise RetireError(f"{host}: {complaint if done.returncode else error}") from None


@contextmanager
def locked(work: Retirement, stamp: str) -> Iterator[None]:
    """The fleet's lock, and a record in the history. stamp: of the history when this was planned."""
    words = f"fleet retire {work.host}{f' --role {work.role}' if work.role else ''}"
    with recorded(words, *work.records, work.file, stamp) as record:
        if record.taken_over:
            work.say(record.taken_over)
        record.notes = work.notes
        try:
            yield
        finally:
            if work.abandoned:
                record.others["overrides"] = {"abandon_queues": ",".join(sorted(work.abandoned))}


def remove(work: Retirement, what: Removal) -> None:
    """Drain, stop and remove. Raises RetireError."""
    data, seen, ended = work.inventory.hosts[work.host], dict[str, str](), False

    def on_line(line: str) -> None:
        nonlocal ended
        fields = line.split("\t")
        ended = ended or fields == ["end"]
        if words := retirement.in_words(fields, seen):
            (work.say if fields[0] == "stopping" else work.note)(f"{work.host}: {words}")
        if fields[0] == "stopping":
            seen[fields[1]] = fields[-1]

    try:
        code, errors = ssh.stream(work.host, data, ssh.as_root(data, retirement.removal_command(what)), what.seconds, on_line)
    except ssh.SSHError as error:
        raise RetireError(f"{error}; run it again: what has begun goes on") from None
    if code or not ended:
        reason = (errors.strip().splitlines() or ["contact was lost"])[-1]
        raise RetireError(f"{work.host}: {reason}; run it again: it goes on from there")


def helper(work: Retirement) -> Callable[[tuple[str, ...]], RetiredWorkers]:
    """What asks a machine that has the app to give back what workers held. Raises RetireError if there is none."""
    path = Path(work.fleet.settings.secrets_file)
    known = secrets.read(path)
    complaints = []
    others = [name for name, host in work.fleet.hosts.items() if host.workers and name != work.host][:MOST_ASKED]
    for name in others:
        try:
            installed = survey(work, name)
        except (SilentError, RetireError) as error:
            complaints.append(f"{name}: {str(error).removeprefix(f'{name}: ')}")
            continue
        host = work.fleet.hosts[name]
        unit = next((unit for unit in installed.units if unit.release and unit.role in host.workers), None)
        plan = resolved(work.fleet, {name: installed.facts} if installed.facts else {})
        if unit is None or name not in plan.workers:
            complaints.append(f"{name}: has no worker")
            continue
        secrets.require(path, known, host.workers[unit.role].secrets)
        environment = process.as_lines(process.environment(plan, host, unit.role, known))
        on_machine = Release(unit.release, host.settings.celery_app)
        return lambda nodes: _ask(work, name, release.retire_command(on_machine, nodes), environment)
    raise RetireError(
        f"no other machine has the app, which gives back what was held: {'; '.join(complaints) or 'none has workers'}"
    )


def _ask(work: Retirement, helper: str, command: str, environment: str) -> RetiredWorkers:
    data = work.inventory.hosts[helper]
    try:
        done = ssh.run(helper, data, ssh.as_root(data, command), environment)
    except ssh.SSHError as error:
        raise RetireError(str(error)) from None
    try:
        return retire.parse(done.stdout.splitlines())
    except ValueError as error:
        reason = (done.stderr.strip().splitlines() or [str(error)])[-1]
        if "No module named" in reason and "retire" in reason:
            reason = "its release is of an earlier celery-fleet; deploy first, or wait until the lease has ended"
        raise RetireError(f"{helper}: {reason}") from None
