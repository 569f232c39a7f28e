"""`python3 -m fleet_node.step`, as root: one step of a rollout on this machine. Standard library alone.

It reads a StepRequest (`fleet_node.protocol`) on stdin. The last line on stdout is a StepResult, after STEP_MARK.

A second instance that was started first, and the snapshot of the old files, stay until the step is verified on all machines:
both may be needed to put the step back. `--commit` ends them; `--put-back` undoes the step first.
"""

from __future__ import annotations

import fcntl
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet_node.protocol import STATE_FOLDER, STEP_LOCK, STEP_MARK, StepRequest
from fleet_node.step import surge
from fleet_node.step.errors import StepError
from fleet_node.step.output import say
from fleet_node.step.snapshot import Snapshot
from fleet_node.step.step import Step
from fleet_node.step.systemd import Systemd


@contextmanager
def alone(folder: Path = Path(STATE_FOLDER), patience: float = 600) -> Iterator[None]:
    """Wait for a step of an earlier run that is still at work here. Raises StepError after `patience` seconds."""
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    with (folder / STEP_LOCK).open("w") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StepError(f"a step of an earlier run is still at work on this machine, after {patience:g} s") from None
                time.sleep(1)
        yield


def main() -> int:
    """Run the command line. Returns the exit code: 1 if the step did not begin, or is not put back."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost connection ends nothing
    supervisor, snapshot = Systemd(), Snapshot(Path(STATE_FOLDER))
    try:
        if sys.argv[1:] == ["--commit"]:
            with alone():
                snapshot.discard()
                surge.end(supervisor)
            return 0
        if sys.argv[1:] == ["--put-back"]:
            with alone():
                if not snapshot.put_back(supervisor):
                    return 1
                surge.end(supervisor)
            return 0
        request: StepRequest = json.loads(sys.stdin.read())
        with alone(patience=request["timeout"]):
            say(STEP_MARK + json.dumps(Step(request, supervisor).run()))
    except StepError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:  # a disk that is full, or read-only
        sys.stderr.write(f"{error.filename or STATE_FOLDER}: {error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
