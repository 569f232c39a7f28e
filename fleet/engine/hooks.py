"""The user's own commands around a rollout: two on a machine of the fleet, and one on the control machine if a run failed."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Any

from pyinfra import logger
from pyinfra.context import host
from pyinfra.operations import python, server

from fleet.engine.apply import Hidden, report_error
from fleet.engine.inventory import inventory_argument
from fleet.engine.run import Run
from fleet.plan import process
from fleet.plan.instance import Instance
from fleet.rollout.hooks import parse, summarize
from fleet.spec.fleet import Host
from fleet.spec.hooks import Hook
from fleet.state import release

MOST_ERRORS = 10_000
"""Characters of errors that on_failure is told."""
GRACE = 30
"""Seconds that a machine has to say that a hook was killed."""


def on_machine(run: Run, local: Host, instance: Instance, name: str, hook: Hook) -> None:
    """Declare a hook on this host, with the new release, and with the environment of a worker that it has."""
    variables = process.environment(run.plan, local, instance.role, run.secrets)
    logger.info(f"{host.print_prefix}{name}: {hook.command}")
    asked = server.shell(
        name=f"Run {name}",
        commands=[release.hook_command(run.release_of(local), hook.command, hook.timeout)],
        _stdin=Hidden(process.as_lines(variables)),
        _ignore_errors=True,  # it is judged when all that it printed is there
        _timeout=hook.timeout + GRACE,
    )
    python.call(name=f"Check {name}", function=_judge, run=run, name_of_hook=name, asked=asked)


def _judge(state: Any, host: Any, run: Run, name_of_hook: str, asked: Any) -> bool:
    ended = parse(name_of_hook, host.name, asked.stdout.splitlines() if asked.is_complete() else ())
    run.hooks.append(ended)
    for line in ended["lines"]:
        logger.info(f"{host.print_prefix}{line}")
    if ended["code"] == 0:
        logger.info(f"{host.print_prefix}{summarize(ended)}")
        return True
    report_error(run, host, summarize(ended))
    return False


def on_failure(run: Run, outcome: str) -> None:
    """Run the hook on this machine, if the run did not end well. What it prints is shown; whether it fails changes nothing."""
    hook = run.fleet.settings.hooks.on_failure
    if hook is None or outcome == "done":
        return
    about = {
        "FLEET_SCRIPT": run.script,
        "FLEET_INVENTORY": inventory_argument(),
        "FLEET_OUTCOME": outcome,
        "FLEET_ERRORS": "\n".join([*run.errors, *(run.rollout.results.reasons() if run.rollout else ())])[:MOST_ERRORS],
    }
    logger.info(f"--> on_failure: {hook.command}")
    with subprocess.Popen(
        ["sh", "-c", hook.command], env={**os.environ, **about}, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process_of_hook:
        try:
            code = process_of_hook.wait(hook.timeout)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
            logger.error(f"on_failure: not done after {hook.timeout} s: killed")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process_of_hook.pid, signal.SIGKILL)
    if code:
        logger.error(f"on_failure failed with exit code {code}")
