"""The output of `fleet lint`: a table of every resolved flag, then the findings; or the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console

from fleet.lint.finding import Finding
from fleet.lint.news import arranged, count
from fleet.plan.plan import Placement, Plan
from fleet.plan.sizing import mib
from fleet.spec.text import table_lines

_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}


def flags(plan: Plan, placement: Placement) -> dict[str, Any]:
    """Every resolved flag of a role on a host. Memory in bytes, time in seconds; None if a flag is not set."""
    sized, worker = placement.sized, placement.worker
    return {
        "pool": worker.pool,
        "instances": sized.instances,
        "concurrency": sized.concurrency,
        "prefetch": worker.prefetch,
        "queues": list(worker.queues),
        "soft_time_limit": worker.soft_time_limit,
        "time_limit": worker.time_limit,
        "stop_timeout": worker.stop_seconds,
        "max_tasks_per_child": worker.max_tasks_per_child,
        "max_memory_per_child": sized.max_memory_per_child,
        "memory_high": sized.memory_high,
        "memory_max": sized.memory_max,
        "cpu_weight": worker.cpu_weight,
        "cpu_quota": worker.cpu_quota,
        "start_method": worker.start_method,
        "min_consumers": worker.min_consumers,
    }


def as_json(plan: Plan, findings: Iterable[Finding]) -> dict[str, Any]:
    """The plan and the findings as plain values: the output of `fleet lint --json`. Memory in bytes, time in seconds."""
    return {
        "lease": plan.lease,
        "visibility_timeout": plan.visibility_timeout,
        "machines": {
            host: {"cores": machine.cores, "memory": machine.memory, "gpus": machine.gpus}
            for host, machine in plan.machines.items()
        },
        "broker": {"host": plan.fleet.broker_host, **plan.fleet.broker.model_dump()},
        "workers": [{"host": placement.host, "role": placement.role, **flags(plan, placement)} for placement in plan.placed],
        "consumers": plan.consumers,
        "findings": [
            {
                "rule": finding.rule,
                "level": finding.level,
                "path": finding.path,
                "message": finding.message,
                "hosts": list(finding.hosts),
                "silenced": finding.silenced,
                "new": finding.new,
            }
            for finding in findings
        ],
    }


def show(plan: Plan, findings: tuple[Finding, ...], console: Console, verbose: bool, strict: bool) -> None:
    """Print the table, the findings, and a last line with their numbers.

    Errors and what is new come first, and in full. verbose: whether the others follow in full, and not as a number. strict:
    whether warnings do, since they are why the command fails.
    """
    console.print(_table(plan), markup=False, highlight=False, soft_wrap=True)
    console.print(_delivery(plan), highlight=False, soft_wrap=True)
    shown, others = arranged(findings, verbose)
    shown += [finding for finding in others if strict and finding.counts]
    others = [finding for finding in others if finding not in shown]
    for finding in shown:
        _print(finding, console)
    if others:
        console.print(f"    also {count(others)}, as in earlier runs: -v shows them", highlight=False)
    errors = sum(finding.is_error for finding in findings)
    warnings = sum(finding.counts for finding in findings) - errors
    slots = sum(placement.sized.slots for placement in plan.placed)
    console.print(
        f"{len(plan.fleet.hosts)} hosts, tasks at once: {slots}, errors: {errors}, warnings: {warnings}",
        highlight=False,
    )


def _print(finding: Finding, console: Console) -> None:
    style = "dim" if finding.silenced else _STYLES[finding.level]
    label = "silenced" if finding.silenced else finding.level
    console.print(f"[{style}]{label:>8}[/] ", end="")
    console.print(str(finding), markup=False, highlight=False, soft_wrap=True)
    if finding.silenced:
        console.print(f"           since {finding.silenced}", markup=False, highlight=False, soft_wrap=True)


def _delivery(plan: Plan) -> str:
    """After which time tasks come back, in words."""
    if plan.fleet.transport == "amqp":
        timeout = f"{plan.consumer_timeout} s" if plan.fleet.rabbitmq else "not known"
        return f"RabbitMQ gives back what a worker holds when its connection ends; consumer_timeout: {timeout}"
    timeout = "as the app sets it" if plan.visibility_timeout is None else f"{plan.visibility_timeout} s"
    if plan.lease is None:
        return f"no lease; visibility timeout: {timeout}"
    return f"lease: {plan.lease} s; visibility timeout of consumers without a lease: {timeout}"


def _table(plan: Plan) -> str:
    """A line for each role; hosts with the same flags share a line."""
    heads = ("ROLE", "HOSTS", "POOL", "-c", "INST", "PREFETCH", "SOFT/HARD/STOP", "CHILD TASKS/MEM", "HIGH/MAX", "CPU", "QUEUES")
    hosts: dict[tuple[str, ...], list[str]] = {}
    for placement in plan.placed:
        hosts.setdefault((placement.role, *_cells(plan, placement)), []).append(placement.host)
    rows = [
        (role, names[0] + (f" +{len(names) - 1}" if len(names) > 1 else ""), *cells) for (role, *cells), names in hosts.items()
    ]
    return "\n".join(table_lines(heads, rows))


def _cells(plan: Plan, placement: Placement) -> tuple[str, ...]:
    values = flags(plan, placement)
    per_child = values["max_memory_per_child"]
    return (
        values["pool"] + (" spawn" if values["start_method"] == "spawn" else ""),
        str(values["concurrency"]),
        str(values["instances"]),
        str(values["prefetch"]),
        f"{values['soft_time_limit'] or '-'}/{values['time_limit']}/{values['stop_timeout']}s",
        f"{values['max_tasks_per_child'] or '-'}/{mib(per_child) if per_child else '-'}",
        f"{mib(values['memory_high']) if values['memory_high'] else '-'}/{mib(values['memory_max'])}",
        values["cpu_quota"] or str(values["cpu_weight"]),
        ",".join(values["queues"]),
    )
