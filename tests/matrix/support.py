"""What the tests share: an app with tasks that write a ledger, a broker that can restart, workers that are killed."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fleet.spec.reliability import RELIABILITY, TRANSPORT
from tests.unit.process_support import Machine
from tests.unit.shop_support import PATIENCE, answering, redis_server

LEASE = 3
"""Seconds. A fleet has 60."""
GIVEN_BACK = LEASE + 15
"""Seconds after which another worker has what a dead worker held."""

JOBS = """
import json, signal, time
from redis import Redis, RedisError
from redis.backoff import ConstantBackoff
from redis.retry import Retry

app.conf.update(task_acks_late=False, task_reject_on_worker_lost=False)  # the fleet's settings go before the app's

def note(task, number, event):
    waits_for_redis = Retry(ConstantBackoff(0.5), 120, (RedisError, OSError))
    broker, results = os.environ["CELERY_BROKER_URL"], os.environ["CELERY_RESULT_BACKEND"]
    with Redis.from_url(broker if broker.startswith("redis") else results, retry=waits_for_redis) as redis:
        redis.rpush("fleet.drill.r", json.dumps([number, event, time.time(), task.request.hostname]))

@app.task(bind=True)
def work(self, number, seconds=0):
    note(self, number, "start")
    time.sleep(seconds)
    note(self, number, "end")

@app.task(bind=True)
def compute(self, number, seconds):
    note(self, number, "start")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(10000))
    note(self, number, "end")

@app.task(bind=True, max_retries=1)
def later(self, number, countdown):
    note(self, number, "start")
    if not self.request.retries:
        raise self.retry(countdown=countdown)
    note(self, number, "end")

@app.task(bind=True)
def pay(self, number, seconds):
    note(self, number, "start")
    time.sleep(seconds)
    note(self, number, "end")

@app.task(bind=True)
def fail(self, number):
    note(self, number, "end")
    raise ValueError("as asked")

@app.task(bind=True)
def poison(self, number):
    note(self, number, "start")
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""Tasks of an app that sets nothing for its safety. The ledger is that of a drill `r`: Machine.entries reads it."""


def settings(lease: float | None = LEASE, **more: Any) -> dict[str, Any]:
    """FLEET_CELERY, as a fleet sets it."""
    return {"broker_transport_options": TRANSPORT, "settings": RELIABILITY, "lease": lease, **more}


class Broker:
    """A Redis with an append-only file. It may stop and start again."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = redis_server(self.port, self._folder, "--save", "", "--appendonly", "yes")
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        answering(self.port)

    def stop(self) -> None:
        """Stop it in order, as systemd does."""
        if self._process:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None


def until(what: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether something is true within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return bool(what())


def ended(here: Machine) -> set[int]:
    """Numbers of the tasks that have ended."""
    return {number for number, event, _, _ in here.entries("r") if event == "end"}


def begun(here: Machine) -> Counter[int]:
    """Number of a task → how often it has begun."""
    return Counter(number for number, event, _, _ in here.entries("r") if event == "start")


def nothing_is_left(here: Machine) -> bool:
    """Whether no message waits, and no worker holds one."""
    with here.redis() as redis:
        return not (redis.llen("default") or redis.hlen("unacked"))


def output(here: Machine, number: int = 1) -> str:
    """What a worker has written last, as the message of an assertion."""
    return "\n".join(here.output(number).splitlines()[-40:])


def end_tree(worker: subprocess.Popen[bytes]) -> None:
    """Kill a worker with all its processes, as the end of a machine does."""
    if worker.poll() is None:
        worker.send_signal(signal.SIGSTOP)  # it forks no more
        for pid in list(_descendants(worker.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        worker.kill()
    worker.wait()


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text().split()):
                yield child
                yield from _descendants(child)
