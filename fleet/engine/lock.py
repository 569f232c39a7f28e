"""The lock, at the edge: taken before the first change of a run, given back however it ends."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Generator
from typing import Any

from pyinfra import logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, inventory, state

from fleet.engine import apply, target
from fleet.engine.run import seen_by_host
from fleet.plan.plan import Plan
from fleet.rollout import lock, result

_planned: list[str] = []
interrupted: list[bool] = []


def plans(instance: str) -> None:
    """Keep for the history that this run is to restart an instance (host:role@number)."""
    if instance not in _planned:
        _planned.append(instance)


@operation(is_idempotent=False)
def hold(plan: Plan, what: str, brings: bool = True) -> Generator[FunctionCommand, None, None]:
    """Take the lock, once, before any host changes anything. A run that changes nothing takes none. brings: whether it is to
    bring a release.

    To be declared for every host, first of all: whether anything changes is known when all of them are prepared.
    """
    if apply.changing and host.name == next(one.name for one in inventory if one in state.active_hosts):
        yield FunctionCommand(_take, [], {"plan": plan, "what": what, "brings": brings})


def _take(state: Any, host: Any, plan: Plan, what: str, brings: bool) -> bool:
    broker = plan.fleet.broker_host
    if broker.startswith("@"):
        return True  # no machine that SSH leads to
    # Without it (--limit, or its first deploy) what others did meanwhile is not known.
    seen = seen_by_host.get(broker)
    data = inventory.get_host(broker).data.dict()  # type: ignore[no-untyped-call]
    run, started = {**lock.about(what), **(target.brought(plan) if brings else {})}, time.monotonic()
    try:
        inventory_file = next((word for word in sys.argv[1:] if not word.startswith("-")), "INVENTORY")
        lock.take(broker, data, run, inventory_file, seen.history if seen else None)
    except lock.LockError as error:
        logger.error(f"{host.print_prefix}{error}")
        return False
    atexit.register(_give, broker, data, run, started)
    return True


def _give(broker: str, data: Any, run: dict[str, Any], started: float) -> None:
    well = not state.failed_hosts and result.all_well()
    ended = {
        "outcome": "interrupted" if interrupted else "done" if well else "failed",
        "seconds": round(time.monotonic() - started, 1),
        "planned": sorted(_planned),
    }
    try:
        lock.ask(broker, data, lock.give_command(run, ended))
    except lock.LockError as error:
        logger.error(f"the lock is still held: {error}")
