"""Ask the broker in a process of its own: gevent has patched the one in which pyinfra runs.

A module that is asked so has a function that takes the broker's URL and returns a dataclass, and calls `answer` as its main.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fleet.broker.verdict import RefusedError
from fleet.errors import FleetError

REFUSED = 3
"""The exit code of a process that the broker does not let in."""


def ask(module: str, url: str, timeout: float, error: type[FleetError], *words: str) -> Any:
    """What `answer` in a module has printed, as plain values. timeout: seconds. words: its arguments. Raises `error` with one
    line, and RefusedError if the broker does not let the user in."""
    command = [sys.executable, "-m", module, *words]
    try:
        done = subprocess.run(command, input=url, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode == REFUSED:
            raise RefusedError(done.stderr.strip())
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise error(f"the broker has not answered in {timeout:g} s") from None
    except ValueError:
        raise error((done.stderr.strip().splitlines() or ["the broker was not asked"])[-1]) from None


def answer(ask: Callable[[str], Any], explain: Callable[[Exception], str], refusals: tuple[type[Exception], ...] = ()) -> int:
    """Read the broker's URL on stdin, and print what `ask` returns as JSON. explain: what the user reads of an error. refusals:
    errors by which the broker does not let the user in. Returns the exit code."""
    try:
        result = ask(sys.stdin.read().strip())
    except Exception as error:  # of redis or kombu
        sys.stderr.write(f"{explain(error)}\n")
        return REFUSED if isinstance(error, refusals) else 1
    sys.stdout.write(json.dumps(asdict(result)))
    return 0
