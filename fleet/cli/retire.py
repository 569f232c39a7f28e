"""`fleet retire`: a machine, or a role of it, leaves the fleet."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.broker import connect
from fleet.broker.look import look
from fleet.cli.arguments import InventoryFile, Json, say
from fleet.errors import FleetError
from fleet.inventory import last_facts, ssh
from fleet.inventory.read import read_inventory
from fleet.rollout import lock, retire
from fleet.rollout.preflight import Preflight, names_in, names_of
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from fleet.state import retirement
from fleet.state.observed import STAMP
from fleet.state.retirement import Installed, Removal
from fleet_node.protocol import STATE_FOLDER


class RetireError(FleetError):
    """The machine stays as it is, or is not done. str() is what the user reads."""


class SilentError(Exception):
    """The machine does not answer over SSH. str() says why."""


@dataclass
class Retirement:
    """What one command is about, and what it has done so far. abandoned: queues that may be left."""

    file: Path
    inventory: Inventory
    fleet: Fleet
    host: str
    role: str | None
    abandoned: frozenset[str]
    notes: list[str] = field(default_factory=list)

    @property
    def what(self) -> str:
        """The machine, or its role, for people."""
        return f"{self.role} on {self.host}" if self.role else self.host

    @property
    def broker(self) -> tuple[str, Mapping[str, Any]]:
        """The broker's machine, and its data in the inventory."""
        return self.fleet.broker_host, self.inventory.hosts[self.fleet.broker_host]

    def note(self, line: str) -> None:
        """Something that happened: for the user now, and for the history."""
        self.notes.append(line)
        say(line)


def retire_host(
    file: InventoryFile,
    host: Annotated[str, typer.Argument(metavar="HOST", help="The machine, by its name in the inventory.")],
    role: Annotated[
        str | None, typer.Option(help="Retire only this role there, and leave the machine in the fleet.", metavar="ROLE")
    ] = None,
    abandon_queues: Annotated[
        str | None, typer.Option(help="Queues that may be left with too few consumers, or none.", metavar="NAME,NAME")
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask before anything is ended.")] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Show what would be ended and removed, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Retire a machine: its workers finish what they hold, and go with their units, releases and secrets.

    Do this while the machine is still in the inventory. Then take it out of the inventory. Nothing is ended if a queue would be
    left with fewer consumers than the min_consumers of its role, or with none. What tasks wrote below /var/lib/celery stays.

    Exit code: 0; 1 if the machine stays as it is, or is not done.

    Example: fleet retire inventory/prod.py web2
    """
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    work = Retirement(file, inventory, fleet, host, role, names_in(abandon_queues))
    _refuse_names(work)
    stamp = lock.ask(*work.broker, STAMP.format(folder=STATE_FOLDER))[1].strip()
    try:
        installed = _survey(work, host)
    except SilentError as error:
        raise RetireError(f"{host}: {str(error).removeprefix(f'{host}: ')}; nothing was changed") from None
    _retire_living(work, installed, stamp, yes, dry, as_json)


def _refuse_names(work: Retirement) -> None:
    """Raises RetireError for a host that cannot be retired."""
    if work.host not in work.fleet.hosts:
        hosts = ", ".join(work.fleet.hosts)
        raise RetireError(f"{work.host}: not in {work.file}, which has {hosts}; put it back, retire it, and then take it out")
    if work.host == work.fleet.broker_host and work.role is None:
        raise RetireError(f"{work.host}: the broker runs there, with all tasks; --role NAME retires its workers alone")


def _survey(work: Retirement, host: str) -> Installed:
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


def _retire_living(work: Retirement, installed: Installed, stamp: str, yes: bool, dry: bool, as_json: bool) -> None:
    """Have a machine that answers drain, and remove what is there."""
    if work.role and work.role not in installed.roles:
        there = f"it has {', '.join(installed.roles)}" if installed.roles else "it has none"
        raise RetireError(f"{work.host}: nothing there is of the role {work.role}; {there}")
    what = retirement.removal(installed, work.role)
    hostnames = names_of([work.host]) | {installed.hostname}
    result = {
        "host": work.host,
        "role": work.role,
        "units": [unit.name for unit in what.units],
        "removed": [path for path in what.paths if path in installed.paths],
    }
    _refuse_or_note(work, hostnames, result)
    _describe(work, what, result)
    if dry or not what:
        _print(work, {**result, "dry": dry}, as_json)
        return
    _confirm(work, yes, f"retire {work.what}, which ends {len(what.units)} units")
    with _locked(work, stamp):
        # Meanwhile others may have gone.
        _refuse_or_note(work, hostnames, {})
        _remove(work, what)
        _forget(work)
    _print(work, {**result, "dry": False, "notes": work.notes}, as_json)


def _judge(work: Retirement, hostnames: frozenset[str]) -> tuple[Preflight, tuple[str, ...]]:
    """Whether the workers there may go, and which are alive."""
    with connect.broker(work.inventory, work.fleet) as urls:
        view = look(urls["CELERY_BROKER_URL"])
    nodes = retire.nodes_on(view.workers, hostnames, work.role)
    verdict = retire.judge(view, work.fleet, work.host, nodes, work.abandoned)
    return verdict, nodes


def _refuse_or_note(work: Retirement, hostnames: frozenset[str], result: dict[str, Any]) -> None:
    verdict, nodes = _judge(work, hostnames)
    if verdict.error:
        raise RetireError(f"{work.what} stays as it is: {' '.join(verdict.error.splitlines())}")
    for note in verdict.notes:
        if note not in work.notes:
            work.note(note)
    result["workers"] = list(nodes)


def _describe(work: Retirement, what: Removal, result: Mapping[str, Any]) -> None:
    if not what:
        say(f"{work.host}: there is nothing to retire")
        return
    for unit in what.units:
        say(f"{work.host}: {'drain and remove' if unit.active else 'remove'} {unit.name}")
    if removed := result["removed"]:
        say(f"{work.host}: remove {' '.join(removed)}")


def _confirm(work: Retirement, yes: bool, question: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise RetireError(f"{work.what}: nothing was changed, since there is no terminal to ask on; -y does not ask")
    if not typer.confirm(f"{question}?", err=True):
        raise RetireError("nothing was changed")


@contextmanager
def _locked(work: Retirement, stamp: str) -> Iterator[None]:
    """The fleet's lock, and a record in the history. stamp: of the history when this was planned."""
    words = f"fleet retire {work.host}{f' --role {work.role}' if work.role else ''}"
    content, began = lock.describe_run(words), time.monotonic()
    if taken_over := lock.acquire(*work.broker, content, str(work.file), stamp):
        say(taken_over)
    outcome, errors = "interrupted", []
    try:
        yield
        outcome = "done"
    except FleetError as error:
        outcome, errors = "failed", [str(error)]
        raise
    finally:
        entry = {"outcome": outcome, "seconds": round(time.monotonic() - began, 1), "errors": errors, "notes": work.notes}
        if work.abandoned:
            entry["overrides"] = {"abandon_queues": ",".join(sorted(work.abandoned))}
        lock.release(*work.broker, content, {**content, **entry})


def _remove(work: Retirement, what: Removal) -> None:
    """Drain, stop and remove. Raises RetireError."""
    data, seen, ended = work.inventory.hosts[work.host], dict[str, str](), False

    def on_line(line: str) -> None:
        nonlocal ended
        fields = line.split("\t")
        ended = ended or fields == ["end"]
        if words := retirement.in_words(fields, seen):
            (say if fields[0] == "stopping" else work.note)(f"{work.host}: {words}")
        if fields[0] == "stopping":
            seen[fields[1]] = fields[-1]

    try:
        code, errors = ssh.stream(work.host, data, ssh.as_root(data, retirement.removal_command(what)), what.seconds, on_line)
    except ssh.SSHError as error:
        raise RetireError(f"{error}; run it again: what has begun goes on") from None
    if code or not ended:
        reason = (errors.strip().splitlines() or ["contact was lost"])[-1]
        raise RetireError(f"{work.host}: {reason}; run it again: it goes on from there")


def _forget(work: Retirement) -> None:
    """Forget what is kept of the machine here."""
    if work.role is None and (complaint := last_facts.forget(work.file, work.host)):
        say(f"note: {complaint}")


def _print(work: Retirement, result: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
    elif result["dry"]:
        typer.echo("nothing was changed")
    elif work.role:
        typer.echo(
            f"{work.what} is retired: take {work.host} out of the group {work.role} in {work.file}, or a deploy starts it again"
        )
    else:
        typer.echo(f"{work.what} is retired: take it out of {work.file} now, or a deploy brings it back")
