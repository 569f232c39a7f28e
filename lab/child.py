"""Run another program to its end, a deadline or the user's Ctrl-C, and leave no process of it behind."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab.errors import LabError
from lab.interrupt import Stop


def run(
    argv: list[str],
    stop: Stop,
    *,
    timeout: float,
    cwd: Path | None = None,
    stdin: bytes = b"",
    watch: Callable[[str], None] | None = None,
) -> tuple[int, str]:
    """Run `argv`. Returns its exit status, and its stdout and stderr together.

    `timeout` in seconds: after it the program is ended and the status is 124. `watch` gets the last line printed so
    far, every half second. Raises `InterruptedByUserError` after ending the program when `stop` is set, `LabError`
    when it cannot be started.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as input_file:
        input_file.write(stdin)
        input_file.seek(0)
        try:
            # A session of its own, so that the program's own children can be ended with it.
            process = subprocess.Popen(argv, cwd=cwd, stdin=input_file, stdout=out, stderr=out, start_new_session=True)
        except OSError as error:
            raise LabError(f"cannot run {argv[0]}: {error.strerror}") from error

        def printed() -> str:
            return os.pread(out.fileno(), 1 << 20, max(0, os.fstat(out.fileno()).st_size - (1 << 20))).decode(errors="replace")

        deadline = time.monotonic() + timeout
        step = 0.05  # most programs here end soon: look often at first
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    return 124, printed()
                stop.sleep(step)
                step = min(step * 1.5, 0.5)
                if watch and (lines := printed().split("\n")[:-1]):
                    watch(lines[-1].strip())
            return process.returncode, printed()
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)  # the group of its own session
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                continue
    process.wait()
