"""A gevent worker with more to do than it has slots: with the delivery of fleet_node, and with kombu's.

    .venv/bin/python benchmarks/green.py >benchmarks/results/green-$(date +%F).md

A task waits for 0.3 s. Each run is a worker of its own on a full queue, in turns; on 127.0.0.1, with a Redis of its own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import machine, ratios, spread, table
from tests.unit.process_support import machine as native_machine

UNPATCHED = """
from fleet_node import patches
patches.PATCHES = tuple(patch for patch in patches.PATCHES if patch.NAME != "delivery")
"""
TASKS, SECONDS, ROUNDS = 1000, 0.3, 3


def main() -> None:
    """Measure, and print the report."""
    rows = []
    for slots, prefetch in ((100, 1), (100, 4), (20, 1)):
        rates: dict[str, list[float]] = {"": [], UNPATCHED: []}
        for number in range(ROUNDS):
            for more in rates if number % 2 else reversed(list(rates)):
                sys.stderr.write(f"-c {slots}, prefetch {prefetch}, round {number + 1}, {'without' if more else 'with'}\n")
                rates[more].append(one_run(slots, prefetch, more))
        ideal = slots / SECONDS
        with_it, without = rates[""], rates[UNPATCHED]
        row = [
            f"-c {slots}",
            str(prefetch),
            f"{ideal:.0f}",
            spread(without, 0),
            spread(with_it, 0),
            spread(ratios(with_it, without)),
        ]
        rows.append(row)
    print(f"# A full queue of I/O tasks, {date.today()}\n")  # noqa: T201
    print(f"gevent, {TASKS} tasks of {SECONDS} s, {ROUNDS} rounds in turns; tasks a second, median (least to most).\n")  # noqa: T201
    heads = ["slots", "prefetch", "all slots always taken", "without the patch", "with it", "with / without"]
    print(table(heads, rows))  # noqa: T201
    print("".join(f"- {name}: {value}\n" for name, value in {**machine(), "command": "python benchmarks/green.py"}.items()))  # noqa: T201


def one_run(slots: int, prefetch: int, more: str) -> float:
    """Tasks a second, from the first that begins to the last that ends."""
    with tempfile.TemporaryDirectory() as name, native_machine(Path(name)) as here, here.client() as client:
        here.pool, here.concurrency = "gevent", slots
        release = here.release("r", more)
        for number in range(TASKS):
            client.send_task("fleet.drill", ["r", number, "io", SECONDS], queue="default")
        here.prefetch = prefetch
        here.start(release)
        while sum(what == "end" for _, what, _, _ in here.entries("r")) < TASKS:
            time.sleep(0.2)
        times = [at for _, _, at, _ in here.entries("r")]
        return TASKS / (max(times) - min(times))


if __name__ == "__main__":
    main()
