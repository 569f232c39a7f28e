"""The matrix of versions and pools, from its virtualenvs to its table: what scripts/matrix runs."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from tests.matrix.sets import POOLS, SETS, VENVS, make, pins, python_of

AT_ONCE = 3
"""Tests that run at the same time. Each has at most two workers."""
END_PATIENCE = 30
"""Seconds that pytest has to end when it is interrupted."""


def main() -> int:
    """Run the matrix. Returns pytest's exit code, 130 if it was interrupted."""
    options = parser().parse_args()
    versions, pools = options.only or list(SETS), options.pool or list(POOLS)
    try:
        for name in versions:
            make(name)
            sys.stdout.write(f"{name}: {pins(name)}, in {python_of(name).parents[1]}\n")
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"no virtualenv: {' '.join(error.cmd)} failed\n")
        return 1
    sys.stdout.flush()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "tests/matrix",
        f"--versions={','.join(versions)}",
        f"--pools={','.join(pools)}",
    ]
    command += [*([f"-k={options.k}"] if options.k else []), *options.pytest]
    if options.tls:
        os.environ["FLEET_TEST_TLS"] = "1"
    parallel = ["-n", str(options.n), "--dist", "worksteal"] if options.n else []
    return run([*command, *parallel])


def run(command: Sequence[str]) -> int:
    """Run pytest in a process group of its own. Nothing that it started is left when this ends, however it ends."""

    def interrupt(*_: int | FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    started = subprocess.Popen(command, process_group=0)
    try:
        return started.wait()
    except KeyboardInterrupt:
        started.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            started.wait(END_PATIENCE)
        return 130
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
            time.sleep(0.1)
        started.wait()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = argparse.ArgumentParser(
        prog="scripts/matrix",
        description="Try every promise of delivery with every set of versions and every pool. The workers run with the versions "
        f"of the set, the rest with .venv. The virtualenvs of the sets are kept in ~/.cache/celery-fleet/matrix, or in ${VENVS}.",
        epilog="Example: scripts/matrix --only 5.3 --pool gevent -k lease. The exit code is pytest's.",
    )
    described.add_argument("--only", action="append", choices=SETS, help="a set of versions; several times for several sets")
    described.add_argument("--pool", action="append", choices=POOLS, help="a pool; several times for several pools")
    described.add_argument("-k", metavar="EXPRESSION", help="only tests of this name, as pytest has it")
    described.add_argument("--tls", action="store_true", help="with a Redis that workers, drains and producers reach by TLS")
    described.add_argument("-n", type=int, default=AT_ONCE, help="tests that run at the same time (default: %(default)s)")
    described.add_argument("pytest", nargs="*", help="further arguments of pytest, after --")
    return described


if __name__ == "__main__":
    sys.exit(main())
