"""The lock, at the edge: taken before the first change of a run. `fleet.engine.finish` gives it back."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from pyinfra import logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, inventory, state

from fleet.engine.inventory import inventory_argument
from fleet.engine.run import HeldLock, Run
from fleet.rollout import lock


@operation(is_idempotent=False)
def acquire(run: Run, script: str, brings: bool = True) -> Generator[FunctionCommand, None, None]:
    """Take the lock, once, before any host changes anything. A run that changes nothing takes none.

    script: the file that pyinfra runs. brings: whether it brings a release. To be declared for every host, first of all: whether
    anything changes is known when all of them are prepared.
    """
    run.script = script
    if run.changed and host.name == next(candidate.name for candidate in inventory if candidate in state.active_hosts):
        yield FunctionCommand(_acquire, [], {"run": run, "script": script, "brings": brings})


def _acquire(state: Any, host: Any, run: Run, script: str, brings: bool) -> bool:
    records = run.fleet.records_host
    if records.startswith("@"):
        return True  # no machine that SSH leads to
    # Without it (--limit, or its first deploy) what others did meanwhile is not known.
    observed = run.observed.get(records)
    data = inventory.get_host(records).data.dict()  # type: ignore[no-untyped-call]
    content = {**lock.describe_run(script), **(run.brought() if brings else {})}
    try:
        taken_over = lock.acquire(records, data, content, inventory_argument(), observed.history if observed else None)
    except lock.LockError as error:
        logger.error(f"{host.print_prefix}{error}")
        return False
    if taken_over:
        logger.warning(f"{host.print_prefix}{taken_over}")
    run.held = HeldLock(records, data, content, time.monotonic())
    return True
