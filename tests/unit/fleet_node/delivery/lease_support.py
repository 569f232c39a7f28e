"""Workers with a lease of a few seconds, on a machine without systemd, and what they have done."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import Celery

from tests.unit.process_support import Machine, machine
from tests.unit.shop_support import PATIENCE

LEASE = 3
OF_WORKERS = (b"fleet.held", b"fleet.workers", b"fleet.swept", b"unacked")


def until(what: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Wait for something. Returns whether it came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return False


@contextmanager
def leased(folder: Path, pool: str = "threads", lease: float | None = LEASE, **settings: Any) -> Iterator[Machine]:
    """A machine whose workers have a lease, and these settings of Celery."""
    with machine(folder) as here:
        here.pool = pool
        set_lease(here, lease, **settings)
        yield here


def set_lease(here: Machine, lease: float | None, **more: Any) -> None:
    """What workers get that start from now on. more: settings, and broker_transport_options."""
    options = {"broker_transport_options": more.pop("broker_transport_options", {})}
    here.more["FLEET_CELERY"] = json.dumps({"lease": lease, "settings": more, **options})


def send(client: Celery, number: int, seconds: float = 0, queue: str = "default", **options: Any) -> None:
    """Send a task that takes some seconds."""
    client.send_task("fleet.drill", ["r", number, "io", seconds], queue=queue, **options)


def begun(here: Machine) -> dict[int, list[str]]:
    """Task → the workers that have begun it."""
    workers: dict[int, list[str]] = {}
    for number, what, _, node in here.entries("r"):
        if what == "start":
            workers.setdefault(number, []).append(node)
    return workers


def order(here: Machine) -> list[int]:
    """Tasks in the order in which they began."""
    return [number for number, what, _, _ in here.entries("r") if what == "start"]


def ended(here: Machine) -> set[int]:
    """Tasks that have ended."""
    return {number for number, what, _, _ in here.entries("r") if what == "end"}


def twice(here: Machine) -> dict[int, list[str]]:
    """Tasks that began more than once."""
    return {number: workers for number, workers in begun(here).items() if len(workers) > 1}


def left(here: Machine) -> list[bytes]:
    """What workers have left behind in Redis."""
    with here.redis() as redis:
        return [key for key in redis.keys("*") if key.startswith(OF_WORKERS)]


def kill(here: Machine, number: int = 1) -> None:
    """Kill a worker as a reset of its machine does."""
    worker = here.running.pop(f"celery-web@{number}.service")
    worker.kill()
    worker.wait()
