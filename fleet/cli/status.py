"""`fleet status`."""

from __future__ import annotations

import json
from functools import partial

import typer
from rich.console import Console

from fleet.cli.arguments import InventoryFile, Json, looking
from fleet.cli.lines import print_line
from fleet.observe.status import Status, as_json, status
from fleet.rollout import history


def show_status(file: InventoryFile, json_output: Json = False) -> None:
    """Answer two questions: is every machine as your files ask, and does every worker work? Nothing is changed.

    As asked: what a deploy would change on each machine: files, units, packages, processes that are older than their unit or of
    another release. Working: every worker that there should be, as in `fleet load`; and beat, if the fleet has one: one of its
    hosts has to lead. Then who holds the lock, and the last run.

    Exit code: 0 if both are so; 1 if one is not; 2 if nothing could be looked at. Fit for cron.

    Example: fleet status inventory/prod.py
    """
    with looking("every machine and the broker"):
        result = status(file)
    if json_output:
        typer.echo(json.dumps(as_json(result), indent=1))
    else:
        _show(result, Console())
    raise typer.Exit(0 if result.is_as_asked and result.is_working else 1)


def _show(result: Status, console: Console) -> None:
    line = partial(print_line, console)
    differ = len(result.drift) + len(result.unknown)
    line(
        "as asked: yes" if result.is_as_asked else f"as asked: no, {differ} of {result.hosts} machines",
        _style(result.is_as_asked),
    )
    for host, lines in result.drift.items():
        for text in lines:
            line(f"  {host}: {text}")
    for host, why in result.unknown.items():
        line(f"  {host}: not known: {why}")
    workers = result.load.workers
    ill = [worker for worker in workers if not worker.is_well]
    well = f"{len(workers) - len(ill)} of {len(workers)} workers"
    line(f"working: {'yes' if result.is_working else 'no'}, {well}", _style(result.is_working))
    if result.load.problem:
        line(f"  {result.load.problem}")
    elif health := result.load.unknown.get("health"):
        line(f"  not known: {health}")
    for host, why in result.load.silent.items():
        line(f"  {host} does not answer: {why}")
    for worker in ill:
        line(f"  {worker.node}: {worker.state}{f', {worker.why}' if worker.why else ''}")
    if result.beat:
        line(f"beat: {result.beat}", _style(not result.beat.problems))
        for problem in result.beat.problems:
            line(f"  {problem}")
    line(f"lock: {result.holder or 'free'}")
    if result.last is None:
        line("last run: none")
    else:
        line(f"last run: {history.summary(result.last)}")
        if not history.ended_well(result.last):
            for text in history.explain_failure(result.last)[1:]:
                line(f"  {text}")
    for problem in result.problems:
        line(problem, "red")


def _style(is_so: bool) -> str:
    return "green" if is_so else "red"
