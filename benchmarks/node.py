"""What `fleet_node` costs a worker, and what idle workers cost their broker.

    .venv/bin/python benchmarks/node.py >benchmarks/results/node-$(date +%F).md

Throughput and memory: two workers in turns on the same queue of tasks that do nothing, one as `celery worker` alone, one with
`-I fleet_node.worker` and all that a deploy sets. Idle workers: commands that Redis counts in 10 s, with Celery's own chatter and
without. Everything is on 127.0.0.1, with a Redis of its own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from statistics import median

from redis import Redis

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import machine, ratios, spread, table
from benchmarks.footprint import offspring, redis, smaps
from fleet.spec.reliability import RELIABILITY, TRANSPORT

ROOT = Path(__file__).parents[1]
APP = """
from celery import Celery
app = Celery("load")
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, task_ignore_result=True)
app.conf.update(broker_connection_retry_on_startup=True)
@app.task
def nothing():
    pass
"""
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
TASKS = 6000
ROUNDS = 5
SECONDS = 10
END = b"end"
MB = 1 << 20


def main() -> None:
    """Measure, and print the report."""
    print(f"# What fleet_node costs, {date.today()}\n")  # noqa: T201
    with tempfile.TemporaryDirectory() as name, redis(Path(name)) as port, systemd(folder := Path(name)):
        (folder / "load.py").write_text(APP)
        cases = (("prefork", 2), ("gevent", 100), ("threads", 10))
        rows = [throughput(folder, port, pool, concurrency) for pool, concurrency in cases]
        heads = ["pool", "tasks/s without", "tasks/s with", "with / without", "memory of all processes, MB more"]
        print(f"{TASKS} tasks a run, {ROUNDS} rounds in turns; median (least to most).\n\n{table(heads, rows)}")  # noqa: T201
        rows = [[str(count), *(f"{idle(folder, port, count, flags):.1f}" for flags in ((), QUIET))] for count in (1, 10, 50)]
        heads = ["idle workers", "commands/s with gossip, mingle, heartbeat", "without them, as deployed"]
        print(f"Commands that Redis counts in {SECONDS} s, fleet_node in all.\n\n{table(heads, rows)}")  # noqa: T201
    about = {**machine(), "command": "python benchmarks/node.py"}
    print("".join(f"- {name}: {value}\n" for name, value in about.items()), end="")  # noqa: T201


def throughput(folder: Path, port: int, pool: str, concurrency: int) -> list[str]:
    """One row."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    memory: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS):
        for ours in (False, True) if number % 2 else (True, False):
            sys.stderr.write(f"{pool} -c {concurrency}, round {number + 1}, {'with' if ours else 'without'}\n")
            rate, pss = one_run(folder, port, pool, concurrency, ours)
            rates[ours].append(rate)
            memory[ours].append(pss)
    more = median(memory[True]) - median(memory[False])
    return [
        f"{pool} -c {concurrency}",
        spread(rates[False], 0),
        spread(rates[True], 0),
        spread(ratios(rates[True], rates[False])),
        f"{more / MB:.1f}",
    ]


def one_run(folder: Path, port: int, pool: str, concurrency: int, ours: bool) -> tuple[float, float]:
    """(tasks a second, PSS in bytes when idle) of one worker."""
    with Redis(port=port) as client:
        client.flushall()
        with worker(folder, port, ["-P", pool, "-c", str(concurrency), *QUIET], ours) as process:
            ready(client, 1)
            time.sleep(2)
            pss = float(sum(smaps(pid) for pid in [process.pid, *offspring(process.pid)]))
            return rate(folder, port, client, TASKS), pss


def rate(folder: Path, port: int, client: Redis, tasks: int) -> float:
    """Tasks a second of the workers that wait, from the first that is taken to the last that is acknowledged."""
    hold(folder, port, "nothing", [], tasks)
    client.rename("held", "celery")
    # Not from now: nobody tells a worker of a renamed list, so that the listener sees it some time later.
    while client.llen("celery") == tasks:
        time.sleep(0.001)
    begin = time.perf_counter()
    while client.llen("celery") or client.hlen("unacked"):
        time.sleep(0.01)
    return tasks / (time.perf_counter() - begin)


def hold(folder: Path, port: int, task: str, arguments: Sequence[object], tasks: int) -> None:
    """Send so many tasks of the app to a queue that nobody consumes, `held`: renamed to `celery`, it is full at once."""
    send = f"import load; [load.{task}.apply_async({arguments}, queue='held') for _ in range({tasks})]"
    subprocess.run([sys.executable, "-c", send], env=environment(folder, port, False), cwd=folder, check=True)


def idle(folder: Path, port: int, count: int, flags: tuple[str, ...]) -> float:
    """Commands a second of so many workers that have nothing to do."""
    with Redis(port=port) as client, ExitStack() as stack:
        client.flushall()
        for number in range(count):
            more = ["-P", "solo", "-c", "1", "-n", f"w{number}@here", *flags]
            stack.enter_context(worker(folder, port, more, ours=True))
            if number % 5 == 4:
                ready(client, number + 1)
        ready(client, count)
        time.sleep(5)
        before = client.info("stats")["total_commands_processed"]
        time.sleep(SECONDS)
        return float(client.info("stats")["total_commands_processed"] - before) / SECONDS


def ready(client: Redis, count: int) -> None:
    """Wait until so many listen to remote control."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        if client.scard("_kombu.binding.celery.pidbox") >= count:
            return
        time.sleep(0.1)
    raise SystemExit(f"{count} workers did not come up")


def environment(folder: Path, port: int, ours: bool) -> dict[str, str]:
    """What a worker finds."""
    deployed = {
        "FLEET_CELERY": json.dumps({"broker_transport_options": TRANSPORT, "settings": RELIABILITY, "lease": 60}),
        "FLEET_LOG": "text",
        "FLEET_MAX_DELIVERIES": "3",
        "FLEET_STALL_TIMEOUT": "300",
        "FLEET_LONGEST_STOP": "600",
        "NOTIFY_SOCKET": str(folder / "notify"),
        "RUNTIME_DIRECTORY": str(folder),
    }
    return {
        **os.environ,
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{port}/0",
        "CELERY_RESULT_BACKEND": f"redis://127.0.0.1:{port}/1",
        "PYTHONPATH": f"{folder}:{ROOT}",
        **(deployed if ours else {}),
    }


@contextmanager
def worker(
    folder: Path, port: int, flags: list[str], ours: bool, more: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """One worker, ended with the context. Its journal is a file."""
    loaded = ["-I", "fleet_node.worker"] if ours else []
    command = [sys.executable, "-m", "celery", "-A", "load", "worker", "--prefetch-multiplier=4", "-l", "INFO", *flags, *loaded]
    with (
        (folder / "journal").open("ab") as journal,
        subprocess.Popen(
            command, env={**environment(folder, port, ours), **(more or {})}, cwd=folder, stdout=journal, stderr=journal
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def systemd(folder: Path) -> Iterator[None]:
    """Who reads what workers notify. Unread, the socket holds 10 datagrams (Linux's default) and the next sender waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(folder / "notify"))

        def read() -> None:
            while channel.recv(4096) != END:
                pass

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
                own.sendto(END, str(folder / "notify"))
            reader.join()


if __name__ == "__main__":
    main()
