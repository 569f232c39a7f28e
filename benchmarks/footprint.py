"""A worker's footprint: connections to Redis, and memory, by pool and concurrency. `fleet.plan.sizing` and `fleet lint` use it.

    .venv/bin/python benchmarks/footprint.py >benchmarks/results/footprint-$(date +%F).md

It starts a Redis and one worker after the other on 127.0.0.1, each with the flags of a deployed worker, and gives every slot two
tasks of a second with a result. Connections are the most that Redis listed (CLIENT LIST, without this script's). Memory is read
from /proc before the first task (RSS of a child) and while all slots are busy (PSS of all processes).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from redis import Redis

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import machine, table
from tests.unit.shop_support import redis_server

APP = """
import time
from celery import Celery
app = Celery("load")
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, broker_transport_options={"max_connections": 2000},
                result_backend_transport_options={"max_connections": 2000}, redis_max_connections=2000)
@app.task
def hold(seconds):
    time.sleep(seconds)
    return seconds
"""
CASES = [
    ("prefork", 1, "fork"),
    ("prefork", 4, "fork"),
    ("prefork", 16, "fork"),
    ("prefork", 4, "spawn"),
    ("threads", 10, ""),
    ("threads", 100, ""),
    ("gevent", 10, ""),
    ("gevent", 100, ""),
    ("eventlet", 10, ""),
    ("eventlet", 100, ""),
    ("solo", 1, ""),
]
MB = 1 << 20


def main() -> None:
    """Measure every case and print the report."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, redis(Path(folder)) as port:
        (Path(folder) / "load.py").write_text(APP)
        for pool, concurrency, start in CASES:
            if pool in ("gevent", "eventlet") and not importlib.util.find_spec(pool):
                sys.stderr.write(f"{pool}: not installed, left out\n")
                continue
            sys.stderr.write(f"{pool} {concurrency} {start}\n")
            rows.append([f"{pool} {start}".strip(), str(concurrency), *measure(Path(folder), port, pool, concurrency, start)])
    heads = [
        "pool",
        "-c",
        "connections, idle",
        "connections, at work",
        "child before its first task, RSS MB",
        "all at work, PSS MB",
    ]
    print(f"# The footprint of a worker, {date.today()}\n\n{table(heads, rows)}")  # noqa: T201
    about = {**machine(), "command": "python benchmarks/footprint.py"}
    print("".join(f"- {name}: {value}\n" for name, value in about.items()), end="")  # noqa: T201


def measure(folder: Path, port: int, pool: str, concurrency: int, start: str) -> list[str]:
    """One worker: [connections idle, at work, RSS of a child, PSS of all]."""
    environment = {
        **os.environ,
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{port}/0",
        "CELERY_RESULT_BACKEND": f"redis://127.0.0.1:{port}/1",
        "PYTHONPATH": str(folder),
    }
    command = [sys.executable, "-m", "celery", "-A", "load", "worker", "-P", pool, "-c", str(concurrency), "-n", "one@here"]
    command += ["--prefetch-multiplier=1", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
    command += ["--pool-start-method=spawn"] if start == "spawn" else []
    client = Redis(port=port)
    client.flushall()
    own = {int(connection["id"]) for connection in client.client_list()}

    def connections() -> int:
        return sum(int(connection["id"]) not in own for connection in client.client_list())

    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as worker:
        try:
            deadline = time.monotonic() + 60
            while not client.exists("_kombu.binding.celery") and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(3)  # children that start, and connections of the start that close
            idle = connections()
            children = offspring(worker.pid)
            rss = max((status(pid, "VmRSS") for pid in children), default=0) if pool == "prefork" else 0
            send = f"import load; [load.hold.delay(1) for _ in range({2 * concurrency})]"
            subprocess.run([sys.executable, "-c", send], env=environment, cwd=folder, check=True)
            most, pss = 0, 0
            deadline = time.monotonic() + 10 + 4
            while time.monotonic() < deadline:
                most = max(most, connections())
                pss = max(pss, sum(smaps(pid) for pid in [worker.pid, *offspring(worker.pid)]))
                if client.dbsize() and Redis(port=port, db=1).dbsize() >= 2 * concurrency:
                    break
                time.sleep(0.05)
            most = max(most, connections())
        finally:
            worker.terminate()
    return [str(idle), str(most), f"{rss / MB:.0f}" if rss else "", f"{pss / MB:.0f}"]


@contextmanager
def redis(folder: Path) -> Iterator[int]:
    """A Redis for the benchmark, on a free port of loopback."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = redis_server(port, folder)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            time.sleep(1)
            yield port
        finally:
            server.terminate()


def offspring(pid: int) -> list[int]:
    """Children and their children."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [grandchild for child in children for grandchild in offspring(child)]


def status(pid: int, name: str) -> int:
    """A field of /proc/PID/status in bytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def smaps(pid: int) -> int:
    """PSS in bytes; 0 for a process that has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
