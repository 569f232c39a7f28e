"""The release that a rollback goes to, read from the history on the host of the records."""

from __future__ import annotations

import os

from pyinfra import logger
from pyinfra.context import host, inventory

from fleet.engine.refusal import refusing
from fleet.engine.run import Run
from fleet.rollout import lock, target


def select_rollback(run: Run) -> None:
    """Make an earlier release this run's: the one that `--data release=` names, or the last good one. Raises RefusedError."""
    with run.preparing, refusing():
        if run.target is not None:
            return
        records = run.fleet.records_host
        entries = lock.read_history(records, inventory.get_host(records).data.dict())  # type: ignore[no-untyped-call]
        # A drill's releases are nothing to go back to, except for the drill itself.
        candidates = [entry for entry in entries if not entry.get("drill") or os.environ.get(lock.DRILL)]
        run.target = target.select(candidates, host.data.get("release"))
        logger.info(f"--> back to release {run.target}")
