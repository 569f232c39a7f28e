"""How long a deploy takes, against Ansible and against plain ssh: python benchmarks/deploy.py >benchmarks/results/deploy-DATE.md

benchmarks/README.md says what is compared and what is left out. The report goes to stdout, progress to stderr.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import figures
from benchmarks.contenders import NAMES, BenchmarkError, Contest, Tree, compile_bytecode
from benchmarks.loopback import SshdError, sshd
from lab.progress import Progress
from roles.machine import PACKAGES

CASES = ("first run", "nothing to change")
MANY, ROUNDS_OF_MANY = 10, 2  # Ansible takes minutes a round above so many hosts
QUIET = 0.1  # the share of the CPU that other processes may use


@dataclass(frozen=True)
class Sample:
    """One contender's run. most_commands: SSH commands on the host that had most. mean_commands: on the mean host."""

    hosts: int
    case: str
    round: int
    who: str
    seconds: float
    most_commands: int
    mean_commands: float


class Quiet:
    """Waits for a quiet machine, and notes how quiet it was."""

    def __init__(self, patience: float) -> None:
        """patience: seconds to wait in all."""
        self._patience = patience
        self.shares: list[float] = []

    def wait(self) -> None:
        """Until others use little of the CPU, or patience ends."""
        started = time.monotonic()
        while (share := figures.busy()) > QUIET and time.monotonic() - started < self._patience:
            pass
        self._patience -= time.monotonic() - started
        self.shares.append(share)


def main(
    hosts: Annotated[str, typer.Option(help="Numbers of hosts, one after the other.")] = "1,10,50",
    rounds: Annotated[int, typer.Option(min=1, help=f"Rounds; at most {ROUNDS_OF_MANY} above {MANY} hosts.")] = 5,
    ansible: Annotated[str, typer.Option(help="The ansible-playbook command.")] = "ansible-playbook",
    patience: Annotated[float, typer.Option(help="Seconds, in all, to wait for a quiet machine.")] = 180,
    as_json: Annotated[bool, typer.Option("--json", help="Print every sample as JSON in place of the report.")] = False,
    keep_folder: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep the hosts' directories and the logs.")] = False,
) -> None:
    """Time celery-fleet, Ansible and plain ssh in turns, on hosts behind one sshd on 127.0.0.1."""
    counts = [int(count) for count in hosts.split(",")]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        playbook = _find(ansible)
        _require_packages()
        with _folder(keep_folder) as folder, sshd(folder / "sshd") as server, Progress() as progress:
            progress.doing("now", "compiling bytecode")
            compile_bytecode(playbook)
            quiet = Quiet(patience)
            load = os.getloadavg()
            samples: list[Sample] = []
            for count in counts:
                (folder / str(count)).mkdir()
                contest = Contest(folder / str(count), server, count, playbook)

                def timed(who: str, contest: Contest = contest) -> tuple[float, list[int]]:
                    mark = server.mark()
                    return contest.run(who), server.commands_since(mark)

                repeat = rounds if count <= MANY else min(rounds, ROUNDS_OF_MANY)
                samples += _compete(contest, count, repeat, timed, quiet, progress)
    except (BenchmarkError, SshdError) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    facts = _facts(playbook, load, quiet.shares, progress.seconds)
    if as_json:
        sys.stdout.write(json.dumps({"facts": facts, "samples": [asdict(sample) for sample in samples]}, indent=1) + "\n")
    else:
        sys.stdout.write(_report(facts, samples))


def _compete(
    contest: Contest,
    count: int,
    rounds: int,
    timed: Callable[[str], tuple[float, list[int]]],
    quiet: Quiet,
    progress: Progress,
) -> Iterator[Sample]:
    """All rounds with `count` hosts. Raises BenchmarkError if two contenders' states differ, or a second run changes a file."""
    progress.doing("now", f"{count} hosts: rehearsing")
    contest.rehearse()
    for number in range(1, rounds + 1):
        states = {}
        for case in CASES:
            for who in NAMES:
                if case == "first run" and who != "ssh":
                    contest.wipe()
                before = contest.state(with_times=True)
                progress.doing("now", f"{count} hosts: waiting for a quiet machine")
                quiet.wait()
                progress.doing("now", f"{count} hosts, round {number} of {rounds}, {case}: {who}")
                seconds, commands = timed(who)
                progress.event(f"{count} hosts, round {number} of {rounds}, {case}: {who} {seconds:.2f} s")
                progress.doing("now", None)
                if case == "first run":
                    states[who] = contest.state()
                elif contest.state(with_times=True) != before:
                    raise BenchmarkError(f"{who} changed something where nothing was to change")
                yield Sample(count, case, number, who, seconds, max(commands), sum(commands) / count)
        if states["celery-fleet"] != states["Ansible"]:
            raise BenchmarkError(_differences(states["celery-fleet"], states["Ansible"]))


def _differences(fleet: dict[str, Tree], ansible: dict[str, Tree]) -> str:
    lines = [
        f"{host}: {path}: {fleet[host].get(path)} and {ansible[host].get(path)}"
        for host in fleet
        for path in sorted({*fleet[host], *ansible[host]})
        if fleet[host].get(path) != ansible[host].get(path)
    ]
    return "\n".join(["celery-fleet and Ansible do not bring about the same:", *lines[:10]])


@contextmanager
def _folder(keep_folder: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fleet-bench-"))
    try:
        yield folder
    finally:
        if keep_folder:
            sys.stderr.write(f"kept: {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _find(ansible: str) -> Path:
    path = shutil.which(ansible)
    if path is None:
        raise BenchmarkError(
            f"{ansible}: no such command; install requirements/bench.txt in a venv, and give its path: --ansible"
        )
    return Path(path)


def _require_packages() -> None:
    """Both contenders check for these packages. Neither may install any on the machine that runs this."""
    done = subprocess.run(["dpkg-query", "-W", *PACKAGES, "python3-apt"], check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"install what is missing first:\n{done.stderr.strip()}")


def _facts(playbook: Path, load: tuple[float, float, float], shares: list[float], seconds: float) -> dict[str, str]:
    ansible = subprocess.run([playbook, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]
    ssh = subprocess.run(["ssh", "-V"], check=True, capture_output=True, text=True).stderr.strip()
    return {
        "date": date.today().isoformat(),
        "command": f"python benchmarks/deploy.py {shlex.join(_arguments())}".strip(),
        **figures.machine(),
        "versions": f"pyinfra {version('pyinfra')}, {ansible}, {ssh}",
        "load average at the start": " ".join(f"{value:.2f}" for value in load),
        "CPU used by others just before a run": f"{figures.spread([100 * share for share in shares], 0)} %",
        "duration": f"{seconds / 60:.0f} min",
    }


def _arguments() -> Iterator[str]:
    """This command's arguments, without the path of Ansible, which means nothing elsewhere."""
    words = iter(sys.argv[1:])
    for word in words:
        if word == "--ansible":
            next(words, None)
        elif not word.startswith("--ansible="):
            yield word


def _report(facts: dict[str, str], samples: list[Sample]) -> str:
    rows, commands = [], []
    for count in dict.fromkeys(sample.hosts for sample in samples):
        for case in CASES:
            of = {who: [s for s in samples if (s.hosts, s.case, s.who) == (count, case, who)] for who in NAMES}
            fleet, ansible, ssh = ([s.seconds for s in of[who]] for who in NAMES)
            rows.append(
                [
                    str(count),
                    case,
                    str(len(fleet)),
                    *map(figures.spread, (fleet, ansible, ssh)),
                    figures.spread(figures.ratios(ansible, fleet), 1),
                    figures.spread(figures.ratios(fleet, ssh)),
                ]
            )
            most = max(s.most_commands for s in of["celery-fleet"])
            mean = max(s.mean_commands for s in of["Ansible"])
            commands.append([str(count), case, str(most), f"{mean:.0f}"])
    head = ["hosts", "case", "rounds", "celery-fleet, s", "Ansible, s", "ssh, s", "Ansible ÷ celery-fleet", "celery-fleet ÷ ssh"]
    return "\n".join(
        [
            f"# Deploying worker machines, {facts['date']}\n",
            "Median (min\N{EN DASH}max) of whole processes, run in turns; ratios are taken round by round. "
            "What is compared is in `benchmarks/README.md`.\n",
            figures.table(head, rows),
            "SSH commands a host (exec channels and subsystems, from sshd's log):\n",
            figures.table(["hosts", "case", "celery-fleet", "Ansible"], commands),
            "".join(f"- {name}: {value}\n" for name, value in facts.items()),
        ]
    )


if __name__ == "__main__":
    typer.run(main)
