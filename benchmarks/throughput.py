"""Short tasks: workers with `fleet_node` and all that a deploy sets, against `celery worker` as it comes.

    .venv/bin/python benchmarks/throughput.py >benchmarks/results/throughput-$(date +%F).md

A queue is full of tasks that do nothing, and acknowledged late; it is timed from the first that is taken to the last that is
acknowledged. Each round has every contender once, in turns, on the same cores; on 127.0.0.1, with a Redis of its own. --profile
prints where one worker's main process spends its time, instead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from redis import Redis

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import machine, ratios, spread, table
from benchmarks.footprint import redis
from benchmarks.node import APP, QUIET, rate, ready, systemd, worker


@dataclass(frozen=True)
class Contender:
    """So many workers with these flags."""

    name: str
    ours: bool
    workers: int
    flags: tuple[str, ...] = ()


STOCK = Contender("celery worker, as it comes (prefork -c 2)", False, 1, ("-c", "2"))
CONTENDERS = (
    STOCK,
    Contender("plain Celery: two solo", False, 2, ("-P", "solo")),
    Contender("plain Celery: two gevent -c 100", False, 2, ("-P", "gevent", "-c", "100")),
    Contender("fleet_node: prefork -c 2", True, 1, ("-P", "prefork", "-c", "2", *QUIET)),
    Contender("fleet_node: two prefork -c 1", True, 2, ("-P", "prefork", "-c", "1", *QUIET)),
    Contender("fleet_node: two gevent -c 100", True, 2, ("-P", "gevent", "-c", "100", *QUIET)),
    Contender("fleet_node: two threads -c 100", True, 2, ("-P", "threads", "-c", "100", *QUIET)),
    Contender("fleet_node: two solo", True, 2, ("-P", "solo", *QUIET)),
)
PROFILE = """
import cProfile, os, sys
if "worker" in sys.argv:
    profile = cProfile.Profile()
    main = os.getpid()
    def begin(**_):
        profile.enable()
    def end(**_):
        profile.disable()
        profile.dump_stats(os.path.join(os.path.dirname(__file__), f"profile-{main}"))
    from celery.signals import worker_ready, worker_shutting_down
    worker_ready.connect(begin, weak=False)
    worker_shutting_down.connect(end, weak=False)
"""


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=6000, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--only", default="", help="contenders with this in their names, and the stock worker")
    parser.add_argument("--log-level", default="INFO", help="of both sides; default: %(default)s")
    parser.add_argument("--profile", action="store_true", help="profile the main process of the last of --only")
    arguments = parser.parse_args()
    chosen = [of for of in CONTENDERS if of is STOCK or arguments.only in of.name]
    with tempfile.TemporaryDirectory() as name, redis(Path(name)) as port, systemd(folder := Path(name)):
        (folder / "load.py").write_text(APP + (PROFILE if arguments.profile else ""))
        if arguments.profile:
            one_run(folder, port, chosen[-1], arguments.tasks, arguments.log_level)
            print_profile(folder)
            return
        rates: dict[Contender, list[float]] = {of: [] for of in chosen}
        for number in range(arguments.rounds):
            for of in chosen if number % 2 else reversed(chosen):
                rates[of].append(one_run(folder, port, of, arguments.tasks, arguments.log_level))
                sys.stderr.write(f"round {number + 1}, {of.name}: {rates[of][-1]:.0f}/s\n")
    rows = [[of.name, spread(rates[of], 0), spread(ratios(rates[of], rates[STOCK]), 1)] for of in chosen]
    print(f"# Short tasks at -l {arguments.log_level}, {date.today()}\n")  # noqa: T201
    print(f"{arguments.tasks} tasks that do nothing, {arguments.rounds} rounds in turns; median (least to most).\n")  # noqa: T201
    print(table(["workers", "tasks/s", "× as it comes"], rows))  # noqa: T201
    about = {**machine(), "command": " ".join(["python benchmarks/throughput.py", *sys.argv[1:]])}
    print("".join(f"- {name}: {value}\n" for name, value in about.items()), end="")  # noqa: T201


def one_run(folder: Path, port: int, of: Contender, tasks: int, log_level: str) -> float:
    """Tasks a second."""
    with Redis(port=port) as client, ExitStack() as stack:
        client.flushall()
        for number in range(of.workers):
            stack.enter_context(worker(folder, port, [*of.flags, "-l", log_level, "-n", f"w{number}@here"], of.ours))
        ready(client, of.workers)
        time.sleep(4)
        return rate(folder, port, client, tasks)


def print_profile(folder: Path) -> None:
    """Of the main process."""
    import pstats

    for path in folder.glob("profile-*"):
        pstats.Stats(str(path)).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    main()
