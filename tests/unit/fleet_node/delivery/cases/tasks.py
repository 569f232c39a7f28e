"""The app of the worker that runs the cases, and the small tasks that they send."""

from __future__ import annotations

import time
import uuid
from typing import Any

from celery import Celery, Task, current_task
from celery.exceptions import Reject
from kombu import Queue

from tests.unit.fleet_node.delivery.cases import CASES, beside, connections, control, queues, results, until

MODULES = (beside, connections, control, queues, results)
LATER = 0.3
"""Seconds between two attempts of a task: Celery may else write its RETRY over the result of the next one."""


def prepare(app: Celery) -> None:
    """Make an app the one of the cases."""
    app.conf.update(task_default_queue="default", task_queues=[Queue("default")], result_expires=600)
    app.steps["consumer"].add(beside.Beside)

    @app.task(name="cases.run")  # type: ignore[untyped-decorator]
    def run(name: str) -> Any:
        return CASES[name].run(app, f"{name}.{uuid.uuid4().hex[:6]}")

    @app.task(name="cases.echo")  # type: ignore[untyped-decorator]
    def echo(value: Any) -> Any:
        return value

    @app.task(name="cases.add")  # type: ignore[untyped-decorator]
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="cases.total")  # type: ignore[untyped-decorator]
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="cases.fail")  # type: ignore[untyped-decorator]
    def fail() -> None:
        raise ValueError("as it should")

    @app.task(name="cases.wait")  # type: ignore[untyped-decorator]
    def wait(seconds: float) -> str:
        """Sleeps in small steps, so that a thread of any kind can be ended."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            time.sleep(0.05)
        return "waited"

    @app.task(name="cases.wait_for")  # type: ignore[untyped-decorator]
    def wait_for(key: str) -> str:
        until(lambda: app.backend.client.exists(key))
        return "waited"

    @app.task(name="cases.again", bind=True, max_retries=5)  # type: ignore[untyped-decorator]
    def again(self: Task, retries: int) -> int:
        if self.request.retries < retries:
            raise self.retry(countdown=LATER)
        return int(self.request.retries)

    @app.task(name="cases.give_up", bind=True, max_retries=1)  # type: ignore[untyped-decorator]
    def give_up(self: Task) -> None:
        raise self.retry(countdown=LATER, exc=ValueError("at last"))

    @app.task(name="cases.late", acks_late=True)  # type: ignore[untyped-decorator]
    def late() -> int:
        return own_messages(app)

    @app.task(name="cases.early", acks_late=False)  # type: ignore[untyped-decorator]
    def early() -> int:
        deadline = time.monotonic() + 10
        while own_messages(app) and time.monotonic() < deadline:
            time.sleep(0.02)
        return own_messages(app)

    @app.task(name="cases.reject", acks_late=True, bind=True)  # type: ignore[untyped-decorator]
    def reject(self: Task, key: str) -> str:
        number = app.backend.client.incr(key)
        if number == 1:
            raise Reject("not now", requeue=True)
        return f"{number}: {self.request.delivery_info['redelivered']}"

    @app.task(name="cases.become", bind=True)  # type: ignore[untyped-decorator]
    def become(self: Task, x: int) -> Any:
        raise self.replace(add.si(x, 1))

    @app.task(name="cases.headers", bind=True)  # type: ignore[untyped-decorator]
    def headers(self: Task) -> list[str]:
        return [type(value).__name__ for value in self.request.headers["values"]]

    @app.task(name="cases.progress", bind=True)  # type: ignore[untyped-decorator]
    def progress(self: Task, key: str) -> str:
        """Says how far it is until somebody has seen it: who waits for a result misses what is said before."""
        until(lambda: self.update_state(state="HALF", meta={"done": 50}) or app.backend.client.exists(key))
        return "all"

    @app.task(name="cases.remember")  # type: ignore[untyped-decorator]
    def remember(value: Any, key: str) -> None:
        app.backend.client.rpush(key, str(value))

    @app.task(name="cases.note")  # type: ignore[untyped-decorator]
    def note(request: Any, error: Exception, traceback: Any, key: str) -> None:
        app.backend.client.rpush(key, repr(error))


def own_messages(app: Celery) -> int:
    """How often the message of the task that runs is written down."""
    with app.connection_for_write() as connection:
        return sum(current_task.request.id in text.decode() for text in connection.default_channel.client.hvals("unacked"))
