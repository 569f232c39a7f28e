"""What seeing the fleet costs its workers, and how fast it is.

    git worktree add ../before COMMIT       # to compare with: before workers counted
    .venv/bin/python benchmarks/observe.py --before ../before >benchmarks/results/observe-$(date +%F).md

Throughput: workers of this tree and of --before in turns (A B B A), on the same queue of tasks that do nothing. Asking:
`fleet load`'s question, against inspect's `active` and `stats` one after the other, as most scripts do. On 127.0.0.1, with a
Redis of its own. What idle workers send, wakeup.py measures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import date
from pathlib import Path

from celery import Celery
from redis import Redis

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import machine, ratios, spread, table
from benchmarks.footprint import redis
from benchmarks.node import APP, QUIET, ROOT, rate, ready, systemd, worker
from fleet.broker.port import opened
from fleet.broker.workers import ask_workers

POOLS = {"prefork -c 2": ("-P", "prefork", "-c", "2"), "solo": ("-P", "solo")}
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="another tree of this project")
    parser.add_argument("--tasks", type=int, default=10000, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=6, help="default: %(default)s")
    parser.add_argument("--asked", default="50,100", help="numbers of workers to ask; default: %(default)s")
    arguments = parser.parse_args()
    before = arguments.before.resolve()
    print(f"# What seeing the fleet costs, {date.today()}\n")  # noqa: T201
    with tempfile.TemporaryDirectory() as name, redis(Path(name)) as port, systemd(folder := Path(name)):
        (folder / "load.py").write_text(APP)
        rows = [throughput(folder, port, pool, before, arguments.tasks, arguments.rounds) for pool in POOLS]
        heads = ["pool", "tasks/s before", "now", "now / before", "main process, CPU µs a task before", "now", "before / now"]
        about = f"{arguments.tasks} tasks a run, {arguments.rounds} rounds in turns; median (least to most)."
        print(f"## Throughput\n\n{about}\n\n{table(heads, rows)}")  # noqa: T201
        asked = [asking(folder, port, int(count)) for count in arguments.asked.split(",")]
        heads = ["workers", "inspect, active then stats, s", "of them answered", "fleet load's question, s", "of them answered"]
        print(f"## Asking\n\n5 rounds in turns.\n\n{table(heads, asked)}")  # noqa: T201
    about_machine = {**machine(), "command": " ".join(["python benchmarks/observe.py", *sys.argv[1:]])}
    print("".join(f"- {name}: {value}\n" for name, value in about_machine.items()), end="")  # noqa: T201


def throughput(folder: Path, port: int, pool: str, before: Path, tasks: int, rounds: int) -> list[str]:
    """One row."""
    rates: dict[Path, list[float]] = {before: [], ROOT: []}
    spent: dict[Path, list[float]] = {before: [], ROOT: []}
    for number in range(rounds):
        for root in (before, ROOT) if number % 2 else (ROOT, before):
            with Redis(port=port) as client:
                client.flushall()
                with worker(folder, port, [*POOLS[pool], *QUIET, "-l", "WARNING"], True, tree(folder, root)) as process:
                    ready(client, 1)
                    time.sleep(3)
                    begun = cpu(process.pid)
                    rates[root].append(rate(folder, port, client, tasks))
                    spent[root].append((cpu(process.pid) - begun) / tasks * 1e6)
            sys.stderr.write(f"{pool}, round {number + 1}: {rates[root][-1]:.0f}/s {'now' if root == ROOT else 'before'}\n")
    columns = [spread(rates[before], 0), spread(rates[ROOT], 0), spread(ratios(rates[ROOT], rates[before]), 3)]
    columns += [spread(spent[before], 0), spread(spent[ROOT], 0), spread(ratios(spent[before], spent[ROOT]), 3)]
    return [pool, *columns]


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def asking(folder: Path, port: int, count: int) -> list[str]:
    """One row."""
    url = f"redis://127.0.0.1:{port}/0"
    times: dict[str, list[float]] = {"inspect": [], "load": []}
    answered: dict[str, set[int]] = {"inspect": set(), "load": set()}
    with Redis(port=port) as client, ExitStack() as stack:
        client.flushall()
        solo(stack, folder, port, count, ROOT)
        ready(client, count)
        time.sleep(5)
        nodes = {f"w{number}@here" for number in range(count)}
        for _ in range(5):
            begun = time.perf_counter()
            with Celery(broker=url, set_as_current=False) as app:
                inspect = app.control.inspect()
                answered["inspect"].add(len((inspect.active() or {}).keys() & (inspect.stats() or {}).keys()))
            times["inspect"].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            with opened(url) as broker:
                answered["load"].add(len(ask_workers(broker, nodes)))
            times["load"].append(time.perf_counter() - begun)
            sys.stderr.write(f"{count} workers asked: {times['inspect'][-1]:.2f} s, {times['load'][-1]:.2f} s\n")
    numbers = {name: f"{min(seen)} to {max(seen)}" for name, seen in answered.items()}
    return [str(count), spread(times["inspect"]), numbers["inspect"], spread(times["load"]), numbers["load"]]


def tree(folder: Path, root: Path) -> dict[str, str]:
    """What a worker of another tree has in its environment."""
    return {"PYTHONPATH": f"{folder}:{root}"}


def solo(stack: ExitStack, folder: Path, port: int, count: int, root: Path) -> None:
    """Start so many, ten at once."""
    with Redis(port=port) as client:
        for number in range(count):
            flags = ["-P", "solo", "-n", f"w{number}@here", *QUIET, "-l", "WARNING"]
            stack.enter_context(worker(folder, port, flags, True, tree(folder, root)))
            if number % 10 == 9:
                ready(client, number + 1)


if __name__ == "__main__":
    main()
