"""What a task costs that comes to many idle workers: with plain Celery, and with `fleet_node`.

    .venv/bin/python benchmarks/wakeup.py >benchmarks/results/wakeup-$(date +%F).md

So many solo workers wait for one queue; tasks come one at a time, at a low rate. Commands are those that Redis counts, also in
scripts, less what idle workers send in the same time. Latency is from the producer's call to the begin of the task. Runs are in
turns; everything is on 127.0.0.1, with a Redis of its own. Of more than 50 workers, 50 are processes; for the others, one process
says to Redis what so many of fleet_node's would say, on as many connections, with what their threads say in between.
"""

from __future__ import annotations

import argparse
import itertools
import json
import selectors
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from celery import Celery
from redis import Redis

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.figures import machine, spread, table
from benchmarks.footprint import redis
from benchmarks.node import QUIET, ready, systemd, worker
from fleet_node.delivery.keys import Keys
from fleet_node.delivery.scripts import FETCH, RENEW
from fleet_node.delivery.wakeup import WAIT

APP = """
import os, time
from celery import Celery
app = Celery("load")
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, task_ignore_result=True, worker_hijack_root_logger=False)
app.conf.update(broker_connection_retry_on_startup=True)
@app.task(bind=True)
def stamp(self, sent):
    with open(os.environ["STAMPS"], "a") as file:
        file.write(f"{time.time() - sent} {self.request.hostname}\\n")
"""
TASKS, RATE = 200, 20.0
LEASE = 60
BINDINGS = "redis.call('TIME') redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', 0)"
"""As many commands as kombu 5.7's script that looks for bindings that have expired."""
SETTLE, IDLE_SECONDS = 65, 60
"""Seconds until a new worker is like any other, and of which idle commands are counted: the rarest come once a minute."""
PROCESSES = 50
LISTS = [f"celery{priority}" for priority in ("", "\x06\x163", "\x06\x166", "\x06\x169")]


@dataclass(frozen=True)
class Run:
    """commands: of a task. p50, p99: ms. share: of the busiest worker. idle: commands a second of an idle worker."""

    commands: float
    p50: float
    p99: float
    share: float
    idle: float


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,4,10,50,200", help="numbers of idle workers; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=2, help="default: %(default)s")
    arguments = parser.parse_args()
    rows = []
    for count in map(int, arguments.workers.split(",")):
        runs: dict[bool, list[Run]] = {False: [], True: []}
        for number in range(arguments.rounds):
            for ours in (True,) if count > PROCESSES else (False, True) if number % 2 else (True, False):
                sys.stderr.write(f"{count} workers, round {number + 1}, {'with' if ours else 'without'}\n")
                runs[ours].append(one_run(count, ours))
        for ours, name in ((False, "plain Celery"), (True, "fleet_node")):
            if not runs[ours]:
                continue
            figures = [
                spread([getattr(run, field) for run in runs[ours]], digits)
                for field, digits in (("commands", 1), ("p50", 1), ("p99", 1), ("share", 2), ("idle", 2))
            ]
            rows.append([str(count), name, *figures])
    print(f"# A task for idle workers, {date.today()}\n")  # noqa: T201
    about = f"{TASKS} tasks, {RATE:g} a second, {arguments.rounds} rounds in turns; median (least to most)."
    print(f"{about}\n")  # noqa: T201
    heads = ["idle workers", "", "commands a task", "p50 ms", "p99 ms", "busiest worker's share", "commands/s of an idle worker"]
    print(table(heads, rows))  # noqa: T201
    print("".join(f"- {name}: {value}\n" for name, value in {**machine(), "command": "python benchmarks/wakeup.py"}.items()))  # noqa: T201


def one_run(count: int, ours: bool) -> Run:
    """So many idle workers, and tasks for them."""
    with (
        tempfile.TemporaryDirectory() as name,
        redis(Path(name)) as port,
        Redis(port=port) as client,
        systemd(folder := Path(name)),
        ExitStack() as stack,
    ):
        (folder / "load.py").write_text(APP)
        stamps = folder / "stamps"
        client.config_set("notify-keyspace-events", "KEl")
        processes = min(count, PROCESSES)
        for number in range(processes):
            flags = ["-P", "solo", "-c", "1", "-n", f"w{number}@here", *QUIET]
            stack.enter_context(worker(folder, port, flags, ours, {"STAMPS": str(stamps)}))
            if number % 5 == 4:
                ready(client, number + 1)
        ready(client, processes)
        stack.enter_context(by_protocol(port, count - processes, stamps))
        time.sleep(SETTLE)
        before = commands(client)
        time.sleep(IDLE_SECONDS)
        idle = (commands(client) - before) / IDLE_SECONDS
        before, begin = commands(client), time.monotonic()
        with Celery(broker=f"redis://127.0.0.1:{port}/0") as app:
            for number in range(TASKS):
                time.sleep(max(0.0, begin + number / RATE - time.monotonic()))
                app.send_task("load.stamp", [time.time()], queue="celery", ignore_result=True)
        while not stamps.exists() or len(stamps.read_text().splitlines()) < TASKS:
            time.sleep(0.05)
        used = commands(client) - before - idle * (time.monotonic() - begin)
        lines = [line.split() for line in stamps.read_text().splitlines()]
        latencies = [float(seconds) * 1000 for seconds, _ in lines]
        busiest = max(Counter(node for _, node in lines).values())
        return Run(used / TASKS, median(latencies), quantiles(latencies, n=100)[98], busiest / TASKS, idle / count)


@contextmanager
def by_protocol(port: int, count: int, stamps: Path) -> Iterator[None]:
    """Say to Redis what so many idle workers of fleet_node would say, and what they would if they got a task."""
    stop = threading.Event()
    thread = threading.Thread(target=_play, args=(port, count, stamps, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _maintain(client: Redis, keys: Keys, holders: list[str], stop: threading.Event) -> None:
    """Send what idle workers send besides: their leases every 30 s, and once a minute what kombu asks."""
    for number in itertools.count():
        for holder in holders:
            client.eval(RENEW, 2, keys.workers, keys.index, holder, LEASE)
            client.zrange(keys.workers, 0, 0, withscores=True)
            client.zcard(keys.swept)
            client.ping()
            if number % 2:
                client.zrangebyscore(keys.index, "-inf", 0)
                client.ping()
                client.ping()
                client.eval(BINDINGS, 1, "bindings")
            if stop.wait(LEASE / 2 / len(holders)):
                return


def _play(port: int, count: int, stamps: Path, stop: threading.Event) -> None:
    keys, ended, waited = Keys(), dict[str, list[str]](), set[str]()
    with Redis(port=port, max_connections=count + 10) as client, selectors.DefaultSelector() as selector, ExitStack() as stack:
        fetch = str(client.script_load(FETCH))
        holders = [f"p{number}@here|-|1|1|-" for number in range(count)]
        if holders:
            maintenance = threading.Thread(target=_maintain, args=(client, keys, holders, stop))
            maintenance.start()
            stack.callback(maintenance.join)

        def ask(connection: Any, holder: str) -> None:
            named = (keys.unacked, keys.index, keys.held(holder), keys.workers, *LISTS)
            tags = ended.pop(holder, [])
            ends = [', "", "celery"]'] * len(LISTS)
            connection.send_command("EVALSHA", fetch, len(named), *named, time.time(), 1, len(tags), holder, *tags, *ends)

        for holder in holders:
            client.zadd(keys.workers, {holder: float("inf")})
            connection = client.connection_pool.get_connection()
            stack.callback(connection.disconnect)
            ask(connection, holder)
            selector.register(connection._sock, selectors.EVENT_READ, (connection, holder))
        while not stop.is_set():
            for key, _ in selector.select(0.1):
                connection, holder = key.data
                answer = connection.read_response()
                fetched = bool(answer) and isinstance(answer[0], list)
                if fetched and len(answer) > 2:
                    with stamps.open("a") as file:
                        file.write(f"{time.time() - sent_at(answer[4])} {holder}\n")
                    ended[holder] = [answer[3].decode()]
                    ask(connection, holder)
                elif (fetched and answer[1] == 1) or (answer is None and holder not in waited):
                    (waited.discard if fetched else waited.add)(holder)
                    connection.send_command("BZPOPMIN", keys.bell("celery"), keys.bell(f"{holder}.1"), WAIT)
                else:
                    ask(connection, holder)


def sent_at(message: bytes) -> float:
    """The argument of a task's message."""
    body = json.loads(b64decode(json.loads(message)["body"]))
    return float(body[0][0])


def commands(client: Redis) -> float:
    """What Redis has counted."""
    return float(client.info("stats")["total_commands_processed"])


if __name__ == "__main__":
    main()
