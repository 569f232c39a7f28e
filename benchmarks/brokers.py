"""Redis beside RabbitMQ as brokers of the same worker, measured in turns:

    .venv/bin/python -m benchmarks.brokers [--rounds 3] >benchmarks/results/brokers-$(date +%F).md

Both run on loopback, each with a worker of `fleet_node` (prefork, two processes) that has a deploy's settings. Redis has an
append-only file that is written to disk each second. RabbitMQ is one node, with quorum queues and confirmed messages. Tasks write
down what they do in a Redis of their own, with either.

Needs redis-server and Debian's rabbitmq-server. It takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis

from benchmarks.figures import busy, machine, ratios, spread, table
from fleet.spec.reliability import RABBITMQ_RELIABILITY, RABBITMQ_TRANSPORT, RELIABILITY, TRANSPORT
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import Machine
from tests.unit.rabbitmq_support import Node
from tests.unit.shop_support import answering, free_port, redis_server

PUBLISHED, LATE, QUEUED = 1000, 200, 5000
"""Tasks that are sent for throughput, one after the other for latency, and that wait when memory is measured."""
PATIENCE = 180.0
QUORUM = """
from kombu import Queue
app.conf.task_queues = [Queue("default", routing_key="default", queue_arguments={"x-queue-type": "quorum"})]
"""
APP = """
import time
from redis import Redis

ledger = Redis(port={port})

@app.task(name="nothing", acks_late=True)
def nothing(payload=""):
    ledger.incr("done")

@app.task(name="stamp", acks_late=True)
def stamp(sent):
    ledger.rpush("waits", time.time() - sent)
"""


@dataclass
class Broker:
    """A broker that runs. restart: kills its process and starts it again at once; rss: bytes of its processes."""

    name: str
    url: str
    restart: Callable[[], None]
    rss: Callable[[], int]


@contextmanager
def redis_broker(folder: Path) -> Iterator[Broker]:
    """A Redis with an append-only file."""
    folder.mkdir()
    port = free_port()
    command = redis_server(port, folder, "--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        answering(port)

    def restart() -> None:
        end()
        start()

    def end() -> None:
        running[-1].kill()
        running[-1].wait()

    start()
    try:
        yield Broker("Redis", f"redis://127.0.0.1:{port}/0", restart, lambda: resident([running[-1].pid]))
    finally:
        end()


@contextmanager
def rabbit_broker(folder: Path) -> Iterator[Broker]:
    """A RabbitMQ of one node."""
    node = Node(folder)

    def restart() -> None:
        node.stop(signal.SIGKILL)
        node.start()

    def rss() -> int:
        return resident(session_of(node.processes[-1].pid))

    try:
        node.start()
        yield Broker("RabbitMQ", f"amqp://guest:guest@127.0.0.1:{node.port}//", restart, rss)
    finally:
        node.stop(signal.SIGKILL)


def session_of(leader: int) -> list[int]:
    """The processes of a session."""
    pids = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                    pids.append(int(folder.name))
            except (OSError, ValueError):
                continue
    return pids


def resident(pids: list[int]) -> int:
    """Bytes of memory of processes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids)


@contextmanager
def worker(folder: Path, broker: Broker, ledger: int) -> Iterator[Callable[[], Machine]]:
    """A machine with a worker of the broker's; calling it starts the worker, and another if one was there."""
    folder.mkdir()
    here = Machine(folder, ledger)
    here.pool, here.concurrency, here.prefetch, here.broker = "prefork", 2, 4, broker.url
    is_redis = broker.url.startswith("redis")
    options, own = (TRANSPORT, {}) if is_redis else (RABBITMQ_TRANSPORT, RABBITMQ_RELIABILITY)
    settings: dict[str, Any] = {"settings": {**RELIABILITY, **own}, "broker_transport_options": options}
    here.more = {"FLEET_CELERY": json.dumps({**settings, "lease": 60 if is_redis else None})}
    release = here.release("r", APP.format(port=ledger) + ("" if is_redis else QUORUM))

    def start() -> Machine:
        here.start(release)
        return here

    try:
        yield start
    finally:
        here.end()


@contextmanager
def producer(broker: Broker) -> Iterator[Celery]:
    """What sends tasks, as an app does."""
    with Celery(broker=broker.url, set_as_current=False) as app:
        if not broker.url.startswith("redis"):
            exec(QUORUM, {"app": app})  # noqa: S102 - the very lines of the app
            app.conf.broker_transport_options = dict(RABBITMQ_TRANSPORT)
        yield app


def round_of(broker: Broker, client: Celery, ledger: Redis, figures: dict[str, list[float]]) -> None:
    """All measurements once. The worker is idle at the beginning."""
    ledger.delete("done", "waits")
    began = time.perf_counter()
    for _ in range(PUBLISHED):
        client.send_task("nothing", queue="default")
    figures["sent/s"].append(PUBLISHED / (time.perf_counter() - began))
    wait(lambda: int(ledger.get("done") or 0) >= PUBLISHED)
    for _ in range(LATE):
        client.send_task("stamp", [time.time()], queue="default")
        time.sleep(0.02)
    wait(lambda: ledger.llen("waits") >= LATE)
    waits = sorted(1000 * float(text) for text in ledger.lrange("waits", 0, -1))
    figures["p50 ms"].append(statistics.median(waits))
    figures["p99 ms"].append(waits[int(0.99 * len(waits))])
    killed = time.perf_counter()
    broker.restart()
    figures["up again s"].append(time.perf_counter() - killed)
    ledger.delete("done")
    accepted = 0.0
    while not int(ledger.get("done") or 0):
        try:
            client.send_task("nothing", queue="default", retry=False)
            accepted = accepted or time.perf_counter()
        except Exception:  # of the broker's client: as a producer with retries does
            time.sleep(0.05)
            continue
        until(lambda: int(ledger.get("done") or 0), 0.2)
    figures["task runs again s"].append(time.perf_counter() - killed)


def queued(broker: Broker, client: Celery, start: Callable[[], Machine], ledger: Redis, figures: dict[str, list[float]]) -> None:
    """Memory with QUEUED tasks of a kilobyte, and how fast a worker runs them."""
    figures["RSS idle, MB"].append(broker.rss() / (1 << 20))
    for _ in range(QUEUED):
        client.send_task("nothing", ["x" * 1000], queue="default")
    time.sleep(2)
    figures[f"RSS with {QUEUED} tasks, MB"].append(broker.rss() / (1 << 20))
    ledger.delete("done")
    here = start()
    wait(lambda: int(ledger.get("done") or 0) > 0)
    first, began = int(ledger.get("done") or 0), time.perf_counter()
    wait(lambda: int(ledger.get("done") or 0) >= QUEUED)
    figures["run/s"].append((QUEUED - first) / (time.perf_counter() - began))
    here.end()
    here.running.clear()


def wait(what: Callable[[], object]) -> None:
    if not until(what, PATIENCE):
        raise SystemExit("not done in time")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    others: list[float] = []
    for number in range(given.rounds):
        for make in (redis_broker, rabbit_broker):
            others.append(busy())
            with tempfile.TemporaryDirectory() as text, ExitStack() as stack:
                folder = Path(text)
                port = free_port()
                (folder / "ledger").mkdir()
                keeper = subprocess.Popen(redis_server(port, folder / "ledger"), stdout=subprocess.DEVNULL)
                stack.callback(keeper.wait)
                stack.callback(keeper.kill)
                answering(port)
                ledger = stack.enter_context(Redis(port=port))
                broker = stack.enter_context(make(folder / "broker"))
                start = stack.enter_context(worker(folder / "worker", broker, port))
                client = stack.enter_context(producer(broker))
                own = figures[broker.name]
                queued(broker, client, start, ledger, own)
                start()
                round_of(broker, client, ledger, own)
                sys.stderr.write(
                    f"round {number + 1}, {broker.name}: {json.dumps({k: round(v[-1], 2) for k, v in own.items()})}\n"
                )
    about = "".join(f"- {name}: {value}\n" for name, value in machine().items())
    redis, rabbit = figures["Redis"], figures["RabbitMQ"]
    rows = [[name, spread(redis[name]), spread(rabbit[name]), spread(ratios(rabbit[name], redis[name]))] for name in redis]
    sys.stdout.write(f"{about}- other programs used {spread([100 * share for share in others], 0)} % of the CPU\n\n")
    sys.stdout.write(table(["", "Redis", "RabbitMQ", "RabbitMQ / Redis"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
