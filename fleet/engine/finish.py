"""The end of a run, however it ends: the lock goes back, with the record; then what the user has to know."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pyinfra import logger
from rich.console import Console
from rich.table import Table

from fleet.engine import hooks
from fleet.engine.inventory import inventory_argument
from fleet.engine.run import Run
from fleet.lint import news
from fleet.rollout import lock
from fleet.rollout.result import Results


def end(run: Run, state: Any) -> None:
    """To be called as the process ends. state: pyinfra's."""
    try:
        for step in run.rollout.steps if run.rollout else ():
            run.collect(step)  # of a run that was interrupted nobody has judged the last step
        give_back(run, failed=bool(state.failed_hosts))
        if run.changed and not os.environ.get(lock.DRILL):
            hooks.on_failure(run, run.outcome(bool(state.failed_hosts)))
    finally:
        if run.rollout and run.rollout.results.began and not run.all_well:
            print_summary(run.rollout.results)
        tell(run, Path(inventory_argument()), verbose=state.print_noop_info)


def tell(run: Run, inventory: Path, verbose: bool) -> None:
    """Print the findings that no earlier run over this inventory has reported, the notes, and how many other findings there are;
    and keep what was reported. verbose: print the others, too (pyinfra's -v)."""
    reported, unread = news.read(inventory)
    findings = dict.fromkeys(finding for look in run.findings.values() for finding in look)
    shown, others = news.arranged(news.mark(findings, reported), verbose)
    for finding in shown:
        level = f"silenced, since {finding.silenced}" if finding.silenced else finding.level
        logger.info(f"--> {level}: {finding}")
    for line in run.notes:
        logger.info(f"--> {line}")
    if others:
        logger.info(f"--> also {news.count(others)}, as in earlier runs: -v shows them")
    # What a drill deploys says nothing about the user's releases.
    unwritten = "" if os.environ.get(lock.DRILL) else news.write(inventory, news.remember(reported, run.findings, run.is_whole))
    for complaint in filter(None, (unread, unwritten)):
        logger.info(f"--> note: {complaint}")


def give_back(run: Run, failed: bool) -> None:
    """Record how the run ended, and release the lock, if the run took it. failed: whether pyinfra counts a host as failed."""
    if run.held is None:
        return
    entry = run.history_entry(failed, time.monotonic() - run.held.since)
    try:
        lock.release(run.held.host, run.held.data, run.held.content, {**run.held.content, **entry})
    except lock.UnrecordedError as error:
        logger.error(str(error))
    except (lock.LockError, OSError) as error:
        logger.error(f"the lock is still held: {error}")


def print_summary(results: Results) -> None:
    """A table of what every worker of the rollout runs, and why a step failed."""
    table = Table(title="What every worker of this run is now", title_justify="left")
    for name in ("host", "worker", "release", "state"):
        table.add_column(name, overflow="fold")
    for row in results.table():
        table.add_row(*row)
    console = Console(stderr=True, soft_wrap=True)
    console.print(table)
    for reason in results.reasons():
        console.print(reason, markup=False)
    console.print("Mend it and run it again: what is left is done then. docs/firefighting.md says more.")
