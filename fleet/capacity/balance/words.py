"""Moves in words."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.capacity.balance.policy import Move, Order

WORDS = {
    "lend": "lent to {group}",
    "grow": "more slots for {group}",
    "return": "given back by {group}",
    "renew": "lent to {group} for longer",
    "lacking": "{group} lacks slots",
    "held": "nothing is moved for {group}",
}


def summary(move: Move) -> str:
    """A move in one line."""
    return f"{WORDS[move.kind].format(group=move.group)}: {move.why}"


def explain(move: Move) -> Iterator[str]:
    """A move, and what each worker is told."""
    yield summary(move)
    yield from (f"  {order_words(order)}" for order in move.orders)


def order_words(order: Order) -> str:
    """What a worker is told."""
    if not order.seconds:
        return f"{order.node}: its own queues and slots again"
    parts = [f"consumes {', '.join(order.queues)} too"] if order.queues else []
    parts += [f"has {order.slots} more {'slot' if order.slots == 1 else 'slots'}"] if order.slots else []
    return f"{order.node}: {' and '.join(parts)}, for {order.seconds / 60:.0f} min"
