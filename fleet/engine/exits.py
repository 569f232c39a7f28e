"""Truthful exit codes: pyinfra exits with 0 after Ctrl-C, and with 0 if --limit names no host. And no Enter by which a run leaves
out the hosts that are down."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, NoReturn

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_state, state
from pyinfra_cli import cli as _cli

from fleet.engine import connection, reading
from fleet.engine.inventory import explain_down
from fleet.engine.refusal import RefusedError
from fleet.engine.start import check_settings, current

command_line: Any = _cli

INTERRUPTED = 130
"""The exit code after Ctrl-C, as of a shell's command."""


def install() -> None:
    """To be called from config.py, which pyinfra runs after it has set its own handler."""
    presses = count(1)

    def interrupted(signum: int, frame: Any) -> None:
        press = next(presses)
        if press == 1:
            _end()
        elif press == 2:
            sys.stderr.write("\nending already, the lock is given back; once more ends at once\n")
        else:
            os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, interrupted)
    # Runs after all that is registered later. Python takes a handler of ours away while it ends, and a signal then would kill it.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    # pyinfra would ask, and go on without the hosts that do not answer if somebody presses Enter.
    command_line._set_fail_prompts = lambda state, config: None
    command_line._do_confirm = partial(_confirm, command_line._do_confirm)
    command_line.connect_all = partial(_connect, command_line.connect_all)
    reading.install()
    connection.install()
    atexit.register(_refuse_nobody)


def _connect(connect_all: Callable[[Any], None], state: Any) -> None:
    check_settings()
    try:
        connect_all(state)
    except PyinfraError:
        raise RefusedError(explain_down(state)) from None


def _confirm(ask: Callable[[str], bool], question: str) -> bool:
    try:
        return ask(question)
    except EOFError:
        sys.stderr.write("\nno terminal to answer on, so nothing was changed: -y does it without asking, and --dry shows it\n")
        sys.exit(1)


def _end() -> NoReturn:
    if run := current():
        run.interrupted = True
    sys.stderr.write(
        "\ninterrupted: what a machine was told is finished there, and nothing more is sent; run it again to go on\n"
    )
    sys.exit(INTERRUPTED)


def _refuse_nobody() -> None:
    if not (ctx_state.isset() and state.initialised):  # type: ignore[no-untyped-call]
        return
    empty = len(state.inventory) == 0
    if empty or state.limit_hosts == []:
        reason = "the inventory has no host (is there such a file?)" if empty else "--limit names no host of the inventory"
        sys.stderr.write(f"{reason}: nothing was done\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # an exit code cannot be changed any more in any other way
