"""`fleet drill roll`: releases, restarts and rollbacks under load, good ones and bad ones, with every task accounted for."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.drill import ledger
from fleet.drill.errors import DrillError
from fleet.plan.plan import Plan
from fleet.rollout import lock

if TYPE_CHECKING:
    from fleet.drill.load import Producer

BROKEN: dict[str, str] = {
    "crash at import": "raise RuntimeError('fleet drill: a release that does not import')\n",
    "never ready": (
        "import os as _os\nfrom celery.signals import worker_init as _init\n\n\n"
        "@_init.connect\ndef _fall(**_):\n    _os._exit(3)\n"
    ),
    "consumes nothing": (
        "from celery.signals import worker_ready as _ready\n\n\n@_ready.connect\ndef _idle(sender, **_):\n"
        "    for queue in list(sender.task_consumer.queues):\n"
        "        sender.call_soon(sender.cancel_task_queue, queue.name)\n"
    ),
    "fails every task": (
        "from celery.signals import celeryd_after_setup as _setup\n\n\n@_setup.connect\ndef _spoil(instance, **_):\n"
        "    def fail(*_, **__):\n        raise RuntimeError('fleet drill: a release that fails every task')\n\n"
        "    for name, task in instance.app.tasks.items():\n"
        "        if name != 'fleet.probe' and not name.startswith('celery.'):\n"
        "            task.run = fail if not hasattr(task, '_orig_run') else task.run\n"
        "            task._orig_run = fail\n"
    ),
}
"""Releases that are not well: what an app's module has more."""

BACK = "as before"
PHASES = ("release", "restart", "rollback", *BROKEN, "killed", BACK)
CUT_OFF = "the fleet may run a release of this drill: pyinfra {} deploy.py -y brings back yours"
LONGEST_RUN = 3600
"""Seconds that one run of pyinfra may take."""
PATIENCE = 90
"""Seconds in which some task has to end, before what is left counts as lost: the longest task, an ETA and a step of drain."""
STEP = "Starting operation: Step "
AT_WORK = "Starting operation: Drain, restart and watch workers"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Phase:
    """What one phase did. went_wrong: what was not as it should be, empty where all was."""

    name: str
    begin: float
    end: float
    went_wrong: str

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


def is_local(hosts: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every machine is reached over loopback, as the lab's are."""

    def loopback(host: str, data: Mapping[str, Any]) -> bool:
        try:
            return ip_address(str(data.get("ssh_hostname") or host)).is_loopback
        except ValueError:
            return False

    return all(loopback(host, data) for host, data in hosts.items())


@dataclass(frozen=True)
class Runs:
    """pyinfra's runs against one inventory. hosts: what it says of each. more: further arguments of all of them."""

    inventory: Path
    plan: Plan
    hosts: Mapping[str, Mapping[str, Any]]
    more: Sequence[str]
    log: Path
    say: Say

    def run(self, file: str, *data: str) -> tuple[int, str]:
        """(exit code, output) of a run to its end."""
        with self._started(file, *data) as process:
            output = "".join(self._lines(process))
        return process.returncode, output

    def kill_in_the_middle(self, file: str, *data: str) -> bool:
        """Start a run, and end it by SIGKILL when its first step is at work. Whether it came to that."""
        with self._started(file, *data) as process:
            for line in self._lines(process):
                if AT_WORK in line:
                    time.sleep(3)  # well into it: a worker drains or comes up
                    process.kill()
        return process.returncode == -signal.SIGKILL

    def _lines(self, process: subprocess.Popen[str]) -> Iterator[str]:
        """What it prints, as it does; kept in the log, and its steps told."""
        assert process.stdout  # noqa: S101 - it is a pipe
        with self.log.open("a") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()
                if STEP in line:
                    self.say(f"  {line.partition('operation: ')[2].strip()}")
                yield line

    def clean(self) -> None:
        """Remove the releases that drills alone have brought: they would take the places of those to go back to."""
        history = lock.read_history(self.plan.fleet.broker_host, self.hosts[self.plan.fleet.broker_host])
        ids: dict[bool, set[str]] = {True: set(), False: set()}
        for run in history:
            ids[bool(run.get("drill"))] |= set((run.get("releases") or {}).values())
        # What the sources make was brought by some run that was no drill, or it runs: then a unit names it.
        names = " ".join(map(shlex.quote, sorted(ids[True] - ids[False])))
        remove = (
            f"cd /opt/fleet/releases && for id in {names}; do "
            'grep -qsF "/releases/$id/" /etc/systemd/system/celery-*.service || rm -rf "./$id"; done'
        )
        for host in self.plan.workers if names else ():
            lock.ask(host, self.hosts[host], remove)

    def unlock(self) -> None:
        """Remove the lock that a killed run left."""
        lock.break_lock(self.plan.fleet.broker_host, self.hosts[self.plan.fleet.broker_host])

    @contextmanager
    def _started(self, file: str, *data: str) -> Iterator[subprocess.Popen[str]]:
        pyinfra = Path(sys.executable).with_name("pyinfra")
        # None that is there to go back to makes room for one of the drill's.
        kept = self.plan.fleet.settings.releases_kept + 2 * len(PHASES)
        arguments = [word for one in (*data, f"releases_kept={kept}") for word in ("--data", one)]
        with subprocess.Popen(
            [str(pyinfra), str(self.inventory), file, "-y", *self.more, *arguments],
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


def complete(names: Sequence[str]) -> list[str]:
    """The phases that were asked for, and at their end the one that brings back what was there. Raises DrillError."""
    if unknown := [name for name in names if name not in PHASES]:
        raise DrillError(f"--phases: no {unknown[0]!r}; there are: {', '.join(PHASES)}")
    if not names:
        raise DrillError(f"--phases: write at least one of: {', '.join(PHASES)}")
    bring_another = {"release", "rollback", "killed"}
    last_back = max((index for index, name in enumerate(names) if name == BACK), default=-1)
    return [*names, BACK] if bring_another.intersection(names[last_back + 1 :]) else list(names)


def roll(runs: Runs, producer: Producer, phases: Sequence[str], before: float) -> list[Phase]:
    """Go through the phases while the producer sends. before: seconds of load before the first and after the last."""
    done: list[Phase] = []
    source = Path(runs.plan.fleet.settings.app_source)
    with tempfile.TemporaryDirectory(prefix="fleet-drill-") as folder:

        def release(name: str) -> str:
            return f"app_source={_copy(source, Path(folder) / name, runs.plan.fleet.settings.celery_app, BROKEN.get(name, ''))}"

        quiet(producer, before)
        for name in phases:
            runs.say(f"{name} …")
            begin = producer.now()
            went_wrong = _phase(name, runs, release)
            producer.check()
            done.append(Phase(name, begin, producer.now(), went_wrong))
            runs.say(f"{name}: {went_wrong or 'as it should'}, {done[-1].seconds:.0f} s")
        quiet(producer, before)
    return done


def quiet(producer: Producer, seconds: float) -> None:
    """Load, and nothing else."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        producer.check()
        time.sleep(min(1.0, max(0.0, end - time.monotonic())))


def _phase(name: str, runs: Runs, release: Callable[[str], str]) -> str:
    """Do it; what was not as it should be."""
    if name == "restart":
        return _well(runs.run("restart.py"))
    if name == "rollback":
        return _well(runs.run("rollback.py"))
    if name == "killed":
        new = release(name)
        if not runs.kill_in_the_middle("deploy.py", new):
            return "it could not be killed: no step had begun"
        runs.unlock()
        return _well(runs.run("deploy.py", new))
    if name == BACK:
        said = _well(runs.run("deploy.py"))
        runs.clean()
        return said
    code, output = runs.run("deploy.py", release(name))
    if name == "release":
        return _well((code, output))
    if code != 1:
        return f"a bad release was let through: exit {code}"
    steps = sum(STEP in line for line in output.splitlines())
    if steps > 1:
        return f"it was stopped in step {steps} and not at the canary"
    return ""


def _well(done: tuple[int, str]) -> str:
    code, output = done
    if code == 0:
        return ""
    return f"exit {code}: {next((line.strip() for line in reversed(output.splitlines()) if 'rror' in line), 'see the log')}"


def _copy(source: Path, target: Path, app: str, more: str) -> Path:
    """The app's source as another release: with a file that says so, and with `more` in the app's module."""
    shutil.copytree(source, target, symlinks=True)
    (target / "fleet_drill.txt").write_text(f"{uuid.uuid4().hex}\n")
    if more:
        with module_of(target, app).open("a") as file:
            file.write(f"\n{more}")
    return target


def module_of(source: Path, app: str) -> Path:
    """The file that `celery -A` names: a module, or an attribute of one. Raises DrillError where there is none."""
    dotted = app.partition(":")[0].split(".")
    for parts in (dotted, dotted[:-1]):
        module = source.joinpath(*parts)
        for path in (module.with_suffix(".py"), module / "__init__.py"):
            if parts and path.is_file():
                return path
    raise DrillError(f"celery_app {app}: no such module in {source}, so no broken releases can be made of it")


def report(producer: Producer, phases: Sequence[Phase], seconds: float) -> dict[str, Any]:
    """The whole account, and each phase's."""
    entries = producer.entries()
    return {
        **ledger.account(producer.sent, entries).as_json(),
        "seconds": round(seconds, 1),
        "phases": [
            {
                "name": phase.name,
                "seconds": round(phase.seconds, 1),
                "went_wrong": phase.went_wrong or None,
                **ledger.account(producer.sent, entries, phase.begin, phase.end).as_json(),
            }
            for phase in phases
        ],
    }
