"""Truthful exit codes: pyinfra exits with 0 after Ctrl-C, and with 0 if --limit names no host."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from itertools import count
from typing import Any, NoReturn

from pyinfra.context import ctx_state, state

from fleet.engine.start import current

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
    atexit.register(_refuse_nobody)


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
