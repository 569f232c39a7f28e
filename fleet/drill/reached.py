"""Where a drill reaches the broker and the ledger of its tasks, and where the fleet's machines reach the broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fleet.broker import connect
from fleet.drill.broker import ledger_of
from fleet.spec import endpoint
from fleet.spec.fleet import Fleet, Inventory


@dataclass(frozen=True)
class Reached:
    """broker: its URL from here. ledger: that of the Redis of the ledger; None if it is the broker. addresses: of the broker, as
    machines reach it."""

    broker: str
    ledger: str | None
    addresses: tuple[tuple[str, int], ...]


@contextmanager
def reached(inventory: Inventory, fleet: Fleet) -> Iterator[Reached]:
    """The broker and the ledger, while the context lasts. Raises DrillError if there is no Redis for the ledger."""
    known = endpoint.broker_secrets(fleet)
    server = ledger_of(fleet, known)
    with ExitStack() as stack:
        ledger = stack.enter_context(connect.results(inventory.hosts, fleet, server)) if server else None
        way = stack.enter_context(connect.reached(inventory.hosts, fleet, known))
        addresses = endpoint.broker(fleet, known).addresses
        # Sentinels name the primary, and tasks come from it alone.
        primary = (way.primary,) if way.primary and way.primary not in addresses else ()
        yield Reached(endpoint.broker(fleet, known, way=way).url, ledger, (*addresses, *primary))
