"""`fleet balance`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from fleet.broker import connect, lending
from fleet.broker.forwards import UnreachedError
from fleet.broker.port import AwayError, Port
from fleet.capacity import balanced
from fleet.capacity.balance.look import Look, look_of
from fleet.capacity.balance.policy import LOAN, Balancer, Move
from fleet.capacity.balance.terms import Terms
from fleet.capacity.balance.words import explain, summary
from fleet.capacity.extra import Extra, command, extras
from fleet.capacity.lending import terms_of
from fleet.capacity.station import stations
from fleet.cli.arguments import InventoryFile, Json, looking, say
from fleet.cli.machines import asked
from fleet.inventory import ssh
from fleet.inventory.read import read_inventory
from fleet.observe.broker import Expected, expected_of, names_of
from fleet.observe.sampling import sample
from fleet.plan.plan import Plan, resolved
from fleet.plan.process import START_SECONDS
from fleet.rollout import lock
from fleet.rollout.recorded import Record, recorded
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet
from fleet.spec.text import span

EVERY = 10.0
"""Seconds between two looks of --watch."""


@dataclass(frozen=True)
class _Of:
    """A fleet that is balanced."""

    file: Path
    inventory: Inventory
    fleet: Fleet
    terms: Terms
    expected: Expected
    plan: Plan

    def look(self, port: Port) -> Look:
        now = sample(port, self.fleet.settings.lease, self.expected)
        waiting = {queue: sum(age.waiting.values()) for queue, age in now.ages.items()}
        oldest = {queue: age.oldest.seconds for queue, age in now.ages.items() if age.oldest}
        return look_of(self.terms, now.at, list(now.alive.values()), waiting, oldest)

    def move(self, port: Port, moves: Iterable[Move]) -> list[str]:
        """Make moves, under the fleet's lock, and record them. Returns why workers are not lent out so. Raises LockError if a run
        is at work."""
        moves = [move for move in moves if move.orders]
        renewed = [move for move in moves if move.kind == "renew"]
        others = [move for move in moves if move.kind != "renew"]
        problems = _told(port, renewed)
        if not others:
            return problems
        with self.recorded("; ".join(summary(move) for move in others)) as record:
            record.notes = [line for move in others for line in explain(move)]
            record.errors = _told(port, others)
        return problems + record.errors

    def start(self, moves: Iterable[Move]) -> list[str]:
        """Start second instances where nobody had room, under the fleet's lock, and record them. Returns what became of each."""
        roles = {station.name: station.roles for station in stations(self.plan)}
        return [
            self._start(move, extra)
            for move in moves
            if move.kind == "lacking"
            for extra in extras(self.plan, roles[move.group], move.lacking)
        ]

    def _start(self, move: Move, extra: Extra) -> str:
        with self.recorded(f"{move.group} lacks slots: {extra.unit} on {extra.host}") as record:
            try:
                complaint = _start_on(self.inventory, extra)
            except ssh.SSHError as error:
                complaint = str(error)
            words = f"not started: {complaint}" if complaint else f"started, with {extra.slots} slots, for {span(LOAN)}"
            (record.errors if complaint else record.notes).append(words)
        return f"{extra.host}: {extra.unit}: {words}"

    def recorded(self, what: str) -> AbstractContextManager[Record]:
        """The fleet's lock, and a record in the history."""
        host = self.fleet.records_host
        return recorded(f"fleet balance: {what}", host, self.inventory.hosts[host], self.file)


def balance_fleet(
    file: InventoryFile,
    apply: Annotated[bool, typer.Option("--apply", help="Do it, and record it in the history.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on looking, every 10 seconds, until Ctrl-C.")] = False,
    seconds: Annotated[float, typer.Option(help="How long to look at the fleet.", min=2, max=600, metavar="SECONDS")] = 10,
    as_json: Json = False,
) -> None:
    """Say where a role's tasks wait longer than they may and another role has room, and move capacity there with --apply.

    Idle workers of other roles are lent out: they consume the role's queues too, if they can run its tasks. If that is not
    enough, workers of the role itself get more slots, within their memory, and then a machine of it one worker more, if its
    tasks wait for others. All of that ends by itself after five minutes; a loan does not if somebody asks again. How long tasks
    may wait is the setting slo.

    With --json, one object; with --watch, one for each look at which something is to be moved, a line each.

    Exit code: 0; 1 if a role misses its objective and nobody has room, or a worker did not do as it was told; 2 if the fleet
    cannot be looked at.

    Example: fleet balance inventory/prod.py --apply
    """
    with looking():
        of = _read(file)
    if watch:
        with suppress(KeyboardInterrupt):
            _watch(of, apply, as_json)
        say("what is lent out comes back by itself within five minutes")
        return
    with looking(), connect.read_session(of.inventory, of.fleet) as port:
        say(f"looking at the fleet for {seconds:g} s …")
        balancer = Balancer(of.terms, patience=1)
        balancer.decide(of.look(port))
        time.sleep(seconds)
        look = of.look(port)
        moves = balancer.decide(look)
        _show(of, look, balancer, moves, as_json)
        problems = of.move(port, moves) if apply else []
        for line in of.start(moves) if apply else []:
            typer.echo(line, err=as_json)
    for problem in problems:
        say(problem)
    if any(move.orders for move in moves) and not apply:
        say("nothing was moved: --apply does it")
    raise typer.Exit(1 if problems or any(move.kind == "lacking" for move in moves) else 0)


def _read(file: Path) -> _Of:
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    plan = resolved(fleet, asked(file, inventory))
    return _Of(file, inventory, fleet, terms_of(plan, names_of), expected_of(plan), plan)


def _watch(of: _Of, apply: bool, as_json: bool) -> None:
    balancer, said = Balancer(of.terms), set[tuple[str, str]]()
    while True:
        try:
            with connect.read_session(of.inventory, of.fleet) as port:
                while True:
                    said = _go_on(of, port, balancer, apply, as_json, said)
                    time.sleep(EVERY)
        except (UnreachedError, AwayError) as error:
            say(str(error))
            time.sleep(EVERY)


def _go_on(
    of: _Of, port: Port, balancer: Balancer, apply: bool, as_json: bool, said: set[tuple[str, str]]
) -> set[tuple[str, str]]:
    """One look. said: what was said after the last, for whom. Returns the same of this one: it is said once."""
    look = of.look(port)
    moves = balancer.decide(look)
    if as_json and moves:
        typer.echo(json.dumps({"at": look.at, **balanced.as_json(of.terms, look, balancer.loads, moves)}))
    elif moves:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for move in moves:
            if move.kind != "renew" and (move.group, move.kind) not in said:
                typer.echo("\n".join(f"{at}  {line}" for line in explain(move)))
    if apply:
        try:
            for problem in of.move(port, moves):
                say(problem)
        except lock.LockError as error:
            say(f"not now: {error}")
    return {(move.group, move.kind) for move in moves}


def _show(of: _Of, look: Look, balancer: Balancer, moves: Sequence[Move], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(balanced.as_json(of.terms, look, balancer.loads, moves)))
    else:
        typer.echo("\n".join(balanced.lines(of.terms, look, balancer.loads, moves)))


def _start_on(inventory: Inventory, extra: Extra) -> str:
    """Start a second instance. Returns why it was not started; empty if it was. Raises SSHError."""
    data = inventory.hosts[extra.host]
    done = ssh.run(extra.host, data, ssh.as_root(data, command(extra, LOAN)), timeout=START_SECONDS)
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return next(iter(lines), f"exit code {done.returncode}") if done.returncode else ""


def _told(port: Port, moves: Iterable[Move]) -> list[str]:
    loans = {order.node: order.arguments for move in moves for order in move.orders}
    return [f"{node}: {why}" for node, why in lending.tell(port, loans).items()]
