"""`fleet load`."""

from __future__ import annotations

import json
from collections.abc import Iterable

import typer
from rich.console import Console

from fleet.cli.arguments import InventoryFile, Json, KubeConfig, Namespace, looking
from fleet.cli.lines import print_line
from fleet.kubernetes import pods
from fleet.observe.advice import advise
from fleet.observe.collect import collect, completed
from fleet.observe.plain import load_as_json
from fleet.observe.workers import Load, WorkerLoad, load_of
from fleet.plan.sizing import mib
from fleet.spec.text import span, table_lines

_STYLES = {
    "dead": "red",
    "unknown": "red",
    "ghost": "red",
    "cut off": "red",
    "stopped": "red",
    "out": "yellow",
    "draining": "cyan",
}


def show_load(
    file: InventoryFile, kubeconfig: KubeConfig = None, namespace: Namespace = "default", as_json: Json = False
) -> None:
    """Show every worker that there should be: what it does, and who has heard of it; then each role, and what to do.

    A worker that does not answer is never shown as idle. HEARD has the seconds since systemd, the worker's connection to the
    broker, and the worker itself said that it is there. With --kubeconfig, workers are pods, and Kubernetes is asked in systemd's
    place.

    Exit code: 0; 1 if the broker or a machine does not answer, or a worker is not well; 2 if nothing could be looked at.

    Example: fleet load inventory/prod.py
    """
    with looking("every machine and the broker"):
        collected = completed(pods.survey(file, pods.access(kubeconfig, namespace))) if kubeconfig else collect(file)
    load = load_of(collected.plan, collected.machines, collected.silent, collected.broker)
    if as_json:
        typer.echo(json.dumps(load_as_json(load, str(file)), indent=1))
    else:
        _show(load, str(file), Console())
    raise typer.Exit(0 if load.is_well else 1)


def _show(load: Load, inventory: str, console: Console) -> None:
    workers = sorted(load.workers, key=lambda worker: worker.is_well)
    for line, worker in zip(_workers(workers), [None, *workers], strict=True):
        style = _STYLES.get(worker.state) if worker else "bold"
        print_line(console, line, style)
    console.print()
    for number, line in enumerate(_roles(load)):
        print_line(console, line, None if number else "bold")
    for host, why in load.silent.items():
        print_line(console, f"{host} does not answer: {why}", "red")
    advice = advise(load, inventory)
    if health := load.unknown.get("health"):
        print_line(console, f"not known: {health}")
    if advice:
        console.print()
    for line in advice:
        print_line(console, f"- {line}")


def _workers(workers: Iterable[WorkerLoad]) -> list[str]:
    heads = ("WORKER", "STATE", "BUSY", "%", "HELD", "ETA", "MEMORY", "HEARD s", "UP", "RELEASE", "")
    return table_lines(
        heads,
        [
            (
                worker.node,
                worker.state,
                f"{worker.active}/{worker.slots}",
                f"{worker.utilisation:.0f}",
                str(worker.prefetched),
                str(worker.eta),
                _memory(worker),
                "/".join("-" if age is None else f"{age:.0f}" for age in worker.heard_s.values()),
                "-" if worker.up_s is None else span(worker.up_s),
                worker.release[:12],
                (worker.why or worker.lent) if worker.expected else "no setting asks for it",
            )
            for worker in workers
        ],
    )


def _roles(load: Load) -> list[str]:
    heads = ("ROLE", "WORKERS", "BUSY", "%", "HELD", "ETA", "WAITING", "QUEUES")
    return table_lines(
        heads,
        [
            (
                role.role,
                f"{role.well}/{role.workers}",
                f"{role.active}/{role.slots}",
                f"{role.utilisation:.0f}",
                str(role.prefetched),
                str(role.eta),
                "?" if role.waiting is None else str(role.waiting),
                ",".join(role.queues),
            )
            for role in load.roles
        ],
    )


def _memory(worker: WorkerLoad) -> str:
    if worker.memory is None:
        return "-"
    return mib(worker.memory) + (f"/{mib(worker.memory_max)}" if worker.memory_max else "")
