"""`fleet retire`: a machine, or a role of it, leaves the fleet."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fleet.broker import connect
from fleet.cli.arguments import InventoryFile, Json, say
from fleet.inventory import last_facts
from fleet.inventory.read import read_inventory
from fleet.rollout import lock, retire, retiring
from fleet.rollout.preflight import Preflight, names_in, names_of
from fleet.rollout.retiring import RetireError, Retirement, SilentError
from fleet.spec.load import load_fleet
from fleet.state import retirement
from fleet.state.observed import STAMP
from fleet.state.retirement import Installed, Removal
from fleet_node.protocol import STATE_FOLDER, RetiredWorkers

MOST_WAIT = 120.0
"""Seconds to wait, at most, until half of its lease has passed since the last sign of life of a worker."""


def retire_host(
    file: InventoryFile,
    host: Annotated[str, typer.Argument(metavar="HOST", help="The machine, by its name in the inventory.")],
    role: Annotated[
        str | None, typer.Option(help="Retire only this role there, and leave the machine in the fleet.", metavar="ROLE")
    ] = None,
    abandon_queues: Annotated[
        str | None, typer.Option(help="Queues that may be left with too few consumers, or none.", metavar="NAME,NAME")
    ] = None,
    gone: Annotated[
        bool, typer.Option("--gone", help="The machine is gone for good: give back at once what its workers held.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="Where a machine is that is not in the inventory any more.", metavar="ADDRESS")
    ] = None,
    hostname: Annotated[
        str | None, typer.Option(help="With --gone: what the machine called itself, if not as in the inventory.", metavar="NAME")
    ] = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask before anything is ended.")] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Show what would be ended and removed, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Retire a machine: its workers finish what they hold, and go with their units, releases and secrets.

    Do this while the machine is still in the inventory. Then take it out of the inventory. Nothing is ended if a queue would be
    left with fewer consumers than the min_consumers of its role, or with none. What tasks wrote below /var/lib/celery stays.

    A machine that does not answer over SSH needs --gone. Nothing is taken from a worker that still renews its lease.

    Exit code: 0; 1 if the machine stays as it is, or is not done.

    Example: fleet retire inventory/prod.py web2
    """
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    if address and host in fleet.hosts:
        raise RetireError(f"{host}: {file} says where it is; leave out --address")
    if address or gone:
        inventory = retire.with_host(inventory, host, address)
    work = Retirement(file, inventory, fleet, host, role, hostname or "", names_in(abandon_queues), say)
    _refuse_names(work)
    stamp = lock.ask(*work.records, STAMP.format(folder=STATE_FOLDER))[1].strip()
    try:
        installed = retiring.survey(work, host)
    except SilentError as error:
        reason = str(error).removeprefix(f"{host}: ")
        if not gone and not dry and (yes or not sys.stdin.isatty()):
            raise RetireError(f"{host}: {reason}; nothing was changed. If the machine is gone for good: --gone") from None
        _retire_gone(work, reason, stamp, yes, dry, as_json)
        return
    if gone:
        raise RetireError(f"{host}: it answers over SSH, so that it is not gone; leave out --gone")
    _retire_living(work, installed, stamp, yes, dry, as_json)


def _refuse_names(work: Retirement) -> None:
    """Raises RetireError for a host that cannot be retired."""
    if work.host not in work.inventory.hosts:
        hosts = ", ".join(work.fleet.hosts)
        raise RetireError(
            f"{work.host}: not in {work.file}, which has {hosts}; if it has left: --address ADDRESS, or --gone if it is gone"
        )
    if work.host in work.fleet.broker_hosts and work.role is None:
        raise RetireError(f"{work.host}: the broker runs there, with all tasks; --role NAME retires its workers alone")
    if work.host == work.fleet.records_host and work.role is None:
        raise RetireError(
            f"{work.host}: the lock and the history are there: write another host as records_host in group_data/all.py, copy "
            f"{STATE_FOLDER}/history.jsonl to it if you can, and retire {work.host} then; --role NAME retires its workers alone"
        )


def _retire_living(work: Retirement, installed: Installed, stamp: str, yes: bool, dry: bool, as_json: bool) -> None:
    """Have a machine that answers drain, and remove what is there."""
    if work.role and work.role not in installed.roles:
        there = f"it has {', '.join(installed.roles)}" if installed.roles else "it has none"
        raise RetireError(f"{work.host}: nothing there is of the role {work.role}; {there}")
    if work.host not in work.fleet.hosts and installed.hostname in names_of(work.fleet.hosts):
        raise RetireError(f"{work.host}: the machine there calls itself {installed.hostname}, and is in the inventory")
    what = retirement.removal(installed, work.role)
    hostnames = _hostnames(work) | {installed.hostname}
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
    with retiring.locked(work, stamp):
        # Meanwhile others may have gone.
        _refuse_or_note(work, hostnames, {})
        retiring.remove(work, what)
        _forget(work)
    _print(work, {**result, "dry": False, "notes": work.notes}, as_json)


def _retire_gone(work: Retirement, reason: str, stamp: str, yes: bool, dry: bool, as_json: bool) -> None:
    """Have another machine give back what the workers of one held that is gone, and forget it. reason: why it does not answer."""
    verdict, nodes = _judge(work, _hostnames(work))
    say(f"{work.host}: it does not answer over SSH: {reason}")
    for line in (*(verdict.error or "").splitlines(), *verdict.notes):
        work.note(f"without it: {line.partition('. ')[0]}")
    for node in nodes:
        say(f"{work.host}: give back what {node} holds")
    result: dict[str, Any] = {"host": work.host, "role": work.role, "gone": True, "workers": list(nodes), "given_back": {}}
    if dry:
        _print(work, {**result, "dry": True}, as_json)
        return
    _confirm(work, yes, f"{work.host} is gone for good, and what its workers held goes to others")
    with retiring.locked(work, stamp):
        if nodes:
            result["given_back"] = _give_back(work, nodes)["given_back"]
        elif work.fleet.transport == "amqp":
            work.note(f"{work.host}: RabbitMQ gives back what its workers held when their connections end, within 45 s")
        else:
            work.note(
                f"{work.host}: no worker of it has a lease any more; if the machine called itself otherwise: --hostname NAME"
            )
        _forget(work)
    _print(work, {**result, "dry": False, "notes": work.notes}, as_json)


def _give_back(work: Retirement, nodes: tuple[str, ...]) -> RetiredWorkers:
    """Give back what these workers hold. Raises RetireError if one of them lives."""
    ask = retiring.helper(work)
    report = ask(nodes)
    seconds = retire.until_certain(report)
    if seconds is not None and seconds <= MOST_WAIT:
        say(f"{work.host}: its workers gave a sign of life lately; waiting {seconds:.0f} s until it is certain that it is gone …")
        time.sleep(seconds + 1)
        report = ask(nodes)
    for line in retire.in_words(report):
        work.note(line)
    if alive := retire.explain_alive(report, has_leases=work.fleet.transport == "redis"):
        again = f"; if it is, run it again in {seconds:.0f} s" if seconds is not None and seconds > MOST_WAIT else ""
        raise RetireError(f"{alive}{again}")
    if report["refusal"]:
        raise RetireError(f"{work.host}: not all that its workers held is back in its queues: {report['refusal']}")
    return report


def _hostnames(work: Retirement) -> frozenset[str]:
    return names_of([work.host, *([work.hostname] if work.hostname else [])])


def _judge(work: Retirement, hostnames: frozenset[str]) -> tuple[Preflight, tuple[str, ...]]:
    """Whether the workers there may go, and which are alive."""
    with connect.read_session(work.inventory, work.fleet) as port:
        view = port.view(retire.min_consumers(work.fleet))
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


def _forget(work: Retirement) -> None:
    """Forget what is kept of the machine here."""
    if work.role is None and (complaint := last_facts.forget(work.file, work.host)):
        say(f"note: {complaint}")


def _print(work: Retirement, result: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
    elif result["dry"]:
        typer.echo("nothing was changed")
    elif work.host not in work.fleet.hosts:
        typer.echo(f"{work.what} is retired")
    elif work.role:
        typer.echo(
            f"{work.what} is retired: take {work.host} out of the group {work.role} in {work.file}, or a deploy starts it again"
        )
    else:
        typer.echo(f"{work.what} is retired: take it out of {work.file} now, or a deploy brings it back")
