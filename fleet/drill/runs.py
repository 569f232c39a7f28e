"""The runs of pyinfra that a drill starts, with their output in a log, and the clean-up of what they deployed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.plan.plan import Plan
from fleet.rollout import lock

LONGEST_RUN = 3600
"""Seconds that one run of pyinfra may take."""
SPARE_RELEASES = 18
"""How many more releases stay on a machine during a drill, two a phase: no release of the user's makes room for a drill's."""
INTO_THE_STEP = 3
"""Seconds from the start of a step to the middle of it: a worker drains or starts."""
STEP = "Starting operation: Step "
NOTES = ("--> note: ", "--> warning: ", "--> silenced, ")
AT_WORK = "Starting operation: Drain, restart and watch workers"

Say = Callable[[str], None]


@dataclass(frozen=True)
class FinishedRun:
    """A run of pyinfra that has ended, with its whole output."""

    exit_code: int
    output: str

    @property
    def steps(self) -> int:
        """How many steps of the rollout began."""
        return sum(STEP in line for line in self.output.splitlines())

    @property
    def problem(self) -> str:
        """Why the run failed, in one line; empty if it did not."""
        if self.exit_code == 0:
            return ""
        lines = [line.strip() for line in self.output.splitlines()]
        # The notes of a run come last, and may speak of errors.
        errors = [line for line in lines if "rror" in line and not line.startswith(NOTES)]
        reason = errors[-1] if errors else "see the log"
        return f"exit {self.exit_code}: {reason}"


@dataclass(frozen=True)
class Runs:
    """pyinfra's runs against one inventory. hosts: name → inventory data. more: arguments that every run gets."""

    inventory: Path
    plan: Plan
    hosts: Mapping[str, Mapping[str, Any]]
    more: Sequence[str]
    log: Path
    say: Say

    def run(self, script: str, *data: str) -> FinishedRun:
        """Run a script, e.g. deploy.py, to its end. data: `name=value`, for --data."""
        with self._started(script, *data) as process:
            output = "".join(self._logged_lines(process))
        return FinishedRun(process.returncode, output)

    def kill_in_the_middle(self, script: str, *data: str) -> bool:
        """Start a run, and kill it with SIGKILL during its first step. Returns whether it was killed."""
        with self._started(script, *data) as process:
            for line in self._logged_lines(process):
                if AT_WORK in line:
                    time.sleep(INTO_THE_STEP)
                    process.kill()
        return process.returncode == -signal.SIGKILL

    def remove_drill_releases(self) -> None:
        """Remove the releases that only drills have deployed: they would take the places of those to roll back to."""
        history = lock.read_history(self.plan.fleet.records_host, self.hosts[self.plan.fleet.records_host])
        of_drills: set[str] = set()
        of_users: set[str] = set()
        for entry in history:
            (of_drills if entry.get("drill") else of_users).update((entry.get("releases") or {}).values())
        names = " ".join(map(shlex.quote, sorted(of_drills - of_users)))
        # A release that a unit names runs: it stays, whoever deployed it.
        remove = (
            f"cd /opt/fleet/releases && for id in {names}; do "
            'grep -qsF "/releases/$id/" /etc/systemd/system/celery-*.service || rm -rf "./$id"; done'
        )
        for host in self.plan.workers if names else ():
            lock.ask(host, self.hosts[host], remove)

    def unlock(self) -> None:
        """Remove the lock that a killed run left."""
        lock.break_lock(self.plan.fleet.records_host, self.hosts[self.plan.fleet.records_host])

    def _logged_lines(self, process: subprocess.Popen[str]) -> Iterator[str]:
        """The lines of the run's output as they come. Each goes to the log; each step is reported."""
        assert process.stdout  # noqa: S101 - it is a pipe
        with self.log.open("a") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()
                if STEP in line:
                    self.say(f"  {line.partition('operation: ')[2].strip()}")
                yield line

    @contextmanager
    def _started(self, script: str, *data: str) -> Iterator[subprocess.Popen[str]]:
        pyinfra = Path(sys.executable).with_name("pyinfra")
        releases = self.plan.fleet.settings.releases_kept + SPARE_RELEASES
        arguments = [word for value in (*data, f"releases_kept={releases}") for word in ("--data", value)]
        with subprocess.Popen(
            [str(pyinfra), str(self.inventory), script, "-y", *self.more, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1", lock.DRILL: "1"},
        ) as process:
            too_long = threading.Timer(LONGEST_RUN, process.terminate)
            too_long.start()
            try:
                yield process
            except BaseException:
                process.send_signal(signal.SIGINT)
                raise
            finally:
                too_long.cancel()
