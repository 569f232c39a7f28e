"""`python -m fleet_node.app.hook SECONDS COMMAND`: runs a hook of the user's, as a shell takes it, with a worker's environment.

It reads the environment as NAME=value lines on stdin. What the command prints comes out line by line, without the values of that
environment, and last a HookResult (`fleet_node.protocol`) after HOOK_MARK. Nothing of the command is left after SECONDS.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from threading import Event, Timer

from fleet_node.app.check import masked, take_environment
from fleet_node.protocol import HOOK_MARK, HookResult

TIMED_OUT = 124
"""As timeout(1) has it."""


def main() -> int:
    """Run the command line."""
    seconds, command = float(sys.argv[1]), sys.argv[2]
    given = take_environment()
    own = os.path.dirname(sys.executable)  # noqa: PTH120 - of the venv, whose interpreter is a link
    environment = {**os.environ, "PATH": f"{own}:{os.environ.get('PATH', '/usr/bin:/bin')}"}
    process = subprocess.Popen(
        ["sh", "-c", command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    began, late = time.monotonic(), Event()

    def end() -> None:
        late.set()
        _kill(process)

    timer = Timer(seconds, end)
    timer.start()
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            sys.stdout.write(masked(line if line.endswith("\n") else f"{line}\n", given))
            sys.stdout.flush()
        code = process.wait()
    finally:
        timer.cancel()
        _kill(process)
    if late.is_set():
        sys.stdout.write(f"not done after {seconds:g} s: killed\n")
    result: HookResult = {
        "code": TIMED_OUT if late.is_set() else code if code >= 0 else 128 - code,
        "seconds": round(time.monotonic() - began, 1),
    }
    sys.stdout.write(f"{HOOK_MARK}{json.dumps(result)}\n")
    return result["code"]


def _kill(process: subprocess.Popen[str]) -> None:
    """Whatever the command has started, too."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
