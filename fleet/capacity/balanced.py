"""What a balancer sees and decides, in words and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleet.capacity.balance.load import Load
from fleet.capacity.balance.look import Look
from fleet.capacity.balance.policy import Move
from fleet.capacity.balance.terms import Group, Terms
from fleet.capacity.balance.words import explain
from fleet.spec.text import span, table_lines


def lines(terms: Terms, look: Look, loads: Mapping[str, Load | None], moves: Sequence[Move]) -> Iterator[str]:
    """A row for each group, and a line for each move."""
    rows = [_row(group, look, loads[name]) for name, group in terms.items()]
    yield from table_lines(("ROLES", "OBJECTIVE", "WAIT", "IN/s", "BUSY", "SLOTS", "BORROWS", "FREE"), rows)
    yield ""
    for move in moves:
        yield from explain(move)
        if move.kind == "lacking":
            yield from (f"  {why}" for why in refusals(terms, terms[move.group]))
    for name, group in terms.items():
        if group.objective is None:
            yield f"{name}: nobody said how long its tasks may wait, so nothing is moved for it (the setting slo)"
        elif loads[name] is None:
            yield f"{name}: none of its tasks has ended since its workers started, so that nobody knows how long they take"
    if not moves:
        yield "nothing is to be moved"


def refusals(terms: Terms, group: Group) -> Iterator[str]:
    """Why others cannot help a group."""
    for other in terms.values():
        if why := (other.refused or {}).get(group.name):
            yield f"not from {other.name}: {why}"
        elif group.name in other.takes:
            yield f"no more from {other.name}: what it has left is for its own tasks"
    if group.spare == 0:
        yield f"no more slots in {group.name} itself: its pool, its memory or its processors do not allow it"


def _row(group: Group, look: Look, load: Load | None) -> tuple[str, ...]:
    own = [worker for node in group.nodes if (worker := look.workers.get(node))]
    borrowed = sorted(worker.node for worker in look.workers.values() if set(worker.lent) & set(group.queues))
    slots = sum(worker.slots for worker in own)
    return (
        group.name,
        span(group.objective) if group.objective is not None else "-",
        span(load.wait(slots)) if load and load.wait(slots) < float("inf") else "-" if load is None else "without end",
        f"{load.rate:.1f}" if load else "-",
        f"{load.slots:.1f}" if load else "-",
        str(slots),
        ", ".join(borrowed) or "-",
        str(sum(worker.free for worker in own)),
    )


def as_json(terms: Terms, look: Look, loads: Mapping[str, Load | None], moves: Sequence[Move]) -> dict[str, Any]:
    """The output of `fleet balance --json`."""
    return {
        "roles": {name: _group(group, look, loads[name]) for name, group in terms.items()},
        "moves": [move_as_json(move) for move in moves],
    }


def move_as_json(move: Move) -> dict[str, Any]:
    """For --json and the history."""
    orders = [{"node": order.node, **order.arguments} for order in move.orders]
    return {"roles": move.group, "kind": move.kind, "why": move.why, "lacking": move.lacking, "orders": orders}


def _group(group: Group, look: Look, load: Load | None) -> dict[str, Any]:
    own = [worker for node in group.nodes if (worker := look.workers.get(node))]
    slots = sum(worker.slots for worker in own)
    now = look.groups[group.name]
    return {
        "queues": list(group.queues),
        "objective_s": group.objective,
        "waiting": now.waiting,
        "oldest_s": now.oldest,
        "wait_s": load.wait(slots) if load and slots else None,
        "rate": load.rate if load else None,
        "service_s": load.service if load else None,
        "slots": slots,
        "free": sum(worker.free for worker in own),
        "lent": {w.node: {"queues": list(w.lent), "slots": w.grown, "until": w.until} for w in own if w.lent or w.grown},
        "takes": list(group.takes),
        "refused": dict(group.refused or {}),
    }
