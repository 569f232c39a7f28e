"""Whether a machine, or a role of it, may be retired, by what workers consume now. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from fleet.broker.view import BrokerView
from fleet.errors import FleetError
from fleet.plan.process import parse_node
from fleet.rollout.preflight import Preflight, judge_queues
from fleet.spec.fleet import Fleet, Inventory
from fleet_node.protocol import RETIRED_MARK, RetiredWorkers

OVERRIDE = "--abandon-queues "


def with_host(inventory: Inventory, host: str, address: str | None) -> Inventory:
    """The inventory with a machine that has left it: it is reached as the others are, by what all of them have in common.

    address: where it is; None if its name leads there. A machine that is in the inventory stays as it is. Raises FleetError if
    the address is another machine's.
    """
    if host in inventory.hosts:
        return inventory
    for name, data in inventory.hosts.items():
        if address and address in (name, data.get("ssh_hostname"), data.get("lan_address")):
            raise FleetError(f"{address}: the address of {name}, which is in the inventory; nothing was changed")
    first, *others = inventory.hosts.values()
    own = ("ssh_hostname", "lan_address")
    common = {key: value for key, value in first.items() if key not in own and all(other.get(key) == value for other in others)}
    return replace(inventory, hosts={**inventory.hosts, host: {**common, **({"ssh_hostname": address} if address else {})}})


def nodes_on(workers: Iterable[str], hostnames: Collection[str], role: str | None) -> tuple[str, ...]:
    """Those of these workers that are of the fleet, on a machine that calls itself so; of one role, if one is named."""
    names = ((node, parse_node(node)) for node in workers)
    return tuple(sorted(node for node, name in names if name and name.hostname in hostnames and role in (None, name.role)))


def min_consumers(fleet: Fleet) -> dict[str, int]:
    """Queue → consumers that it keeps: the most that any of its workers asks for, and one in any case."""
    least: dict[str, int] = {}
    for host in fleet.hosts.values():
        for worker in host.workers.values():
            for queue in worker.queues:
                least[queue] = max(1, worker.min_consumers, least.get(queue, 0))
    return least


def judge(view: BrokerView, fleet: Fleet, host: str, stopping: Collection[str], abandoned: frozenset[str]) -> Preflight:
    """Whether these workers may go for good. Only queues that they consume now count: others stay as they are.

    A worker that is alive and too busy to answer is taken to consume what its role does if it goes, and nothing if it stays.
    """
    affected: set[str] = set()
    for node in stopping:
        affected |= set(view.workers.get(node, ())) or _queues_of_role(fleet, host, node)
    remaining = Counter(queue for node, queues in view.workers.items() if node not in stopping for queue in queues)
    of_them = replace(
        view,
        waiting={queue: number for queue, number in view.waiting.items() if queue in affected},
        held={queue: number for queue, number in view.held.items() if queue in affected},
        consumed=tuple(affected),
    )
    stranded = judge_queues(of_them, list(remaining), abandoned, OVERRIDE)
    least = min_consumers(fleet)
    empty = {queue for queue in affected if not remaining[queue] and (view.waiting.get(queue) or view.held.get(queue))}
    few = {queue: remaining[queue] for queue in sorted(affected - empty) if remaining[queue] < least.get(queue, 1)}
    return stranded + _judge_few(few, least, abandoned)


def _judge_few(few: Mapping[str, int], least: Mapping[str, int], abandoned: frozenset[str]) -> Preflight:
    lines = {
        queue: f"{queue} would have {number or 'no'} consumer{'s' if number > 1 else ''}"
        + (f", and min_consumers is {least[queue]}" if number else "")
        for queue, number in few.items()
    }
    notes = tuple(f"as --abandon-queues says: {line}" for queue, line in lines.items() if queue in abandoned)
    refused = [queue for queue in lines if queue not in abandoned]
    if not refused:
        return Preflight(None, notes)
    error = (
        f"{'; '.join(lines[queue] for queue in refused)}. Start workers of it on another machine first, or say that it may be: "
        f"{OVERRIDE}{','.join(refused)}"
    )
    return Preflight(error, notes)


def parse(output: Iterable[str]) -> RetiredWorkers:
    """The report in the output of `fleet_node.app.retire`. Raises ValueError if there is none."""
    marked = [line.removeprefix(RETIRED_MARK) for line in output if line.startswith(RETIRED_MARK)]
    if not marked:
        raise ValueError("no report of what was given back")
    report: RetiredWorkers = json.loads(marked[-1])
    return report


def in_words(report: RetiredWorkers) -> list[str]:
    """What was given back, a line a worker."""
    lines = [f"{node}: {number} messages that it held are back in their queues" for node, number in report["given_back"].items()]
    return lines + ([f"others are not, and stay with it: {report['refusal']}"] if report["refusal"] else [])


def explain_alive(report: RetiredWorkers, has_leases: bool = True) -> str:
    """Why nothing was given back, if a worker has given a sign of life; else empty. has_leases: not of RabbitMQ."""
    if not report["alive"]:
        return ""
    nodes = ", ".join(sorted(report["alive"]))
    if not has_leases:
        return f"{nodes}: answers, so that it lives: the machine is not gone, and only SSH to it fails"
    if None in report["alive"].values():
        return (
            f"{nodes}: has no lease, so that nobody knows whether it lives; what it held goes back after the visibility timeout"
        )
    return f"{nodes}: has renewed its lease, so that it lives: the machine is not gone, and only SSH to it fails"


def until_certain(report: RetiredWorkers) -> float | None:
    """Seconds after which a worker that is gone no longer counts as alive; None if there is nothing to wait for."""
    seconds = [left for left in report["alive"].values() if left is not None]
    return max(seconds) if seconds and len(seconds) == len(report["alive"]) else None


def _queues_of_role(fleet: Fleet, host: str, node: str) -> set[str]:
    name = parse_node(node)
    known = fleet.hosts.get(host)  # None for a machine that has left the inventory
    worker = known.workers.get(name.role) if name and known else None
    return set(worker.queues) if worker else set()
