"""Tasks that wait, in the pools that a role with workload io may have:

    .venv/bin/python -m benchmarks.pools >benchmarks/results/pools-$(date +%F).md

A queue is full of tasks that sleep for 5, 50 or 500 ms, and timed from the first that is taken to the last that is acknowledged.
One worker at a time, with 100 slots and with 1,000, and beside them `celery worker` as it comes: a process for each core. Each
round has every contender once, in turns. Memory is that of all processes of the worker (PSS) in the middle of the work, and while
it is idle before; commands are what Redis counts of it in ten idle seconds. It takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from redis import Redis

from benchmarks.figures import machine, ratios, spread, table
from benchmarks.footprint import offspring, redis, smaps
from benchmarks.node import APP, QUIET, hold, ready, systemd, worker
from benchmarks.wakeup import commands

MB = 1 << 20
IDLE = 10.0
NAP = """
import time

@app.task
def nap(seconds):
    time.sleep(seconds)
"""
SECONDS = (0.005, 0.05, 0.5)
MOST_RATE = 800.0
"""Tasks a second that one process starts here at most: what a run is sized by."""


@dataclass(frozen=True)
class Contender:
    """A worker. slots: that it runs at once."""

    name: str
    slots: int
    ours: bool
    flags: tuple[str, ...]


@dataclass
class Figures:
    """Of all rounds of one contender and one kind of task."""

    rates: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    idle_memory: list[float] = field(default_factory=list)
    commands: list[float] = field(default_factory=list)


CORES = os.cpu_count() or 1
STOCK = Contender(f"celery worker, as it comes (prefork -c {CORES})", CORES, False, ())
OURS = ("--prefetch-multiplier=1", *QUIET)
CONTENDERS = (
    STOCK,
    *(
        Contender(f"{pool} -c {slots}", slots, True, ("-P", pool, "-c", str(slots), *OURS))
        for slots in (100, 1000)
        for pool in ("gevent", "threads")
    ),
    Contender("prefork -c 8", 8, True, ("-P", "prefork", "-c", "8", *OURS)),
)


def tasks_of(of: Contender, seconds: float, run: float) -> int:
    """How many keep a contender busy for so long."""
    return int(run * min(MOST_RATE, of.slots / seconds))


def one_run(folder: Path, port: int, of: Contender, seconds: float, run: float, into: Figures) -> None:
    with Redis(port=port) as client:
        client.flushall()
        with worker(folder, port, [*of.flags], of.ours) as process:
            ready(client, 1)
            time.sleep(3)
            before = commands(client)
            time.sleep(IDLE)
            into.commands.append((commands(client) - before) / IDLE)
            into.idle_memory.append(memory(process.pid))
            tasks = tasks_of(of, seconds, run)
            hold(folder, port, "nap", [seconds], tasks)
            client.rename("held", "celery")
            while client.llen("celery") == tasks:
                time.sleep(0.001)
            begin = time.perf_counter()
            most = 0.0
            while client.llen("celery") or client.hlen("unacked"):
                if not most and client.llen("celery") < tasks / 2:
                    most = memory(process.pid)
                time.sleep(0.02)
            into.rates.append(tasks / (time.perf_counter() - begin))
            into.memory.append(most or memory(process.pid))


def memory(pid: int) -> float:
    """Of a worker's processes, in bytes."""
    return float(sum(smaps(each) for each in [pid, *offspring(pid)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--run", type=float, default=5, help="seconds of work in a run; default: %(default)s")
    given = parser.parse_args()
    figures = {(of, seconds): Figures() for seconds in SECONDS for of in CONTENDERS}
    with tempfile.TemporaryDirectory() as name, redis(Path(name)) as port, systemd(folder := Path(name)):
        (folder / "load.py").write_text(APP + NAP)
        for number in range(given.rounds):
            for seconds in SECONDS:
                for of in CONTENDERS if number % 2 else reversed(CONTENDERS):
                    one_run(folder, port, of, seconds, given.run, figures[of, seconds])
                    last = figures[of, seconds]
                    sys.stderr.write(f"round {number + 1}, {1000 * seconds:g} ms, {of.name}: {last.rates[-1]:.0f}/s\n")
    write = sys.stdout.write
    write(f"# Pools for tasks that wait, {time.strftime('%Y-%m-%d')}\n\n    .venv/bin/python -m benchmarks.pools ")
    write(f"--rounds {given.rounds} --run {given.run:g}\n\n{given.rounds} rounds in turns; median (least to most).\n")
    for seconds in SECONDS:
        rows = []
        for of in CONTENDERS:
            own, stock = figures[of, seconds], figures[STOCK, seconds]
            slot = (median(own.memory) - median(own.idle_memory)) / of.slots
            rows.append(
                (
                    of.name,
                    spread(own.rates, 0),
                    spread(ratios(own.rates, stock.rates), 1),
                    f"{median(own.idle_memory) / MB:.0f}",
                    f"{median(own.memory) / MB:.0f}",
                    f"{1024 * slot / MB:.0f}",
                    spread(own.commands, 1),
                )
            )
        heads = ("worker", "tasks/s", "× as it comes", "MB idle", "MB at work", "KB more a slot", "commands/s idle")
        write(f"\n## Tasks of {1000 * seconds:g} ms\n\n{table(heads, rows)}")
    write("\n" + "".join(f"- {name}: {value}\n" for name, value in machine().items()))


if __name__ == "__main__":
    main()
