"""The exporter against a real RabbitMQ and real workers, with a user who may do as little as the fleet's own monitor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

from roles.rabbitmq import PERMISSIONS
from tests.unit.fleet_exporter.test_exporter import ONE, TWO, Exporter, Metrics
from tests.unit.fleet_node.broker.rabbitmq_machine import rabbit_machine
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import Machine
from tests.unit.rabbitmq_support import Vhost, rabbitmq, running_node, vhost

__all__ = ["rabbitmq", "vhost"]
pytestmark = pytest.mark.slow
APP = """
import time

@app.task(name="good")
def good(seconds=0): time.sleep(seconds)

@app.task(name="bad")
def bad(): raise ValueError("a secret")
"""


class RabbitExporter(Exporter):
    """One of a fleet on RabbitMQ. It has no password of any Redis."""

    def __init__(self, vhost: Vhost, folder: Path, here: Machine, **more: Any) -> None:
        super().__init__(here, folder)
        name = f"monitor-{vhost.name}"
        vhost.node.api("PUT", f"users/{name}", {"password": self.password, "tags": "monitoring"})
        vhost.node.api("PUT", f"permissions/{vhost.name}/{name}", dict(PERMISSIONS["monitor"]))
        self.user = name
        url = vhost.url.replace("guest:guest", f"{name}:{self.password}")
        (folder / "broker-url").write_text(f"{url.replace(str(vhost.node.port), '1')};{url}\n")
        content: dict[str, Any] = json.loads((folder / "fleet.json").read_text())
        (folder / "fleet.json").write_text(json.dumps({**content, "lease": None, "use_ssl": None, **more}))


@contextmanager
def running(vhost: Vhost, folder: Path, pool: str = "threads", **more: Any) -> Iterator[tuple[Machine, RabbitExporter]]:
    with rabbit_machine(folder, vhost, pool) as here:
        exporter = RabbitExporter(vhost, folder / "exporter", here, **more)
        with exporter.running():
            yield here, exporter


def send(vhost: Vhost, name: str, *args: object, number: int = 1) -> None:
    with Celery(broker=vhost.url, set_as_current=False) as app:
        queue = Queue("default", routing_key="default", no_declare=True)  # type: ignore[no-untyped-call]
        for _ in range(number):
            app.send_task(name, args, queue=queue)


def test_a_fleet_from_its_first_task_to_its_last_worker(vhost: Vhost, tmp_path: Path) -> None:
    with running(vhost, tmp_path) as (here, exporter):
        first = exporter.scrape()
        assert (first.value("fleet_broker_up"), first.value("fleet_worker_up", **ONE)) == (1, 0)
        here.start(here.release("r", APP))
        assert until(lambda: exporter.scrape().value("fleet_queue_consumers", queue="default") == 1)
        there = exporter.scrape()
        assert (there.value("fleet_worker_up", **ONE), there.value("fleet_worker_up", **TWO)) == (1, 0)
        assert there.value("fleet_worker_slots", **ONE) == there.value("fleet_queue_free_slots", queue="default") == 4
        assert there.value("fleet_worker_info", **ONE, release="r", revision="v1", pool="thread") == 1
        assert there.value("celery_queue_length", queue_name="default") == 0

        send(vhost, "good", number=2)
        send(vhost, "bad")
        send(vhost, "no.such.task")
        task = {"name": "good", "hostname": "test", "queue_name": "default"}
        failure = {"name": "bad", "hostname": "test", "queue_name": "default", "exception": "ValueError"}
        assert until(lambda: exporter.scrape().value("celery_task_failed_total", **failure) == 1)
        assert until(lambda: exporter.scrape().value("celery_task_succeeded_total", **task) == 2)
        assert until(lambda: exporter.scrape().value("fleet_dead_letters") == 1)
        send(vhost, "good", 30, number=6)
        assert until(lambda: exporter.scrape().value("fleet_queue_in_flight", queue="default", state="running") == 4)
        busy = exporter.scrape()
        assert busy.value("fleet_queue_messages", queue="default", priority="0") == 2
        assert busy.value("fleet_queue_age_upper_seconds", queue="default") == float("inf"), "nobody knows"
        unknown = {"fleet_queue_age_seconds", "fleet_broker_memory_bytes", "fleet_broker_persistence_ok"}
        assert not unknown & {name for name in busy.names if busy.samples}, busy.text
        assert busy.value("fleet_queue_in_flight", queue="default", state="orphaned") is None
        assert busy.value("fleet_source_age_seconds", source="ages") is None
        assert "a secret" not in busy.text

        here.end()
        here.running.clear()
        assert until(lambda: exporter.scrape().value("fleet_worker_up", **ONE) == 0)
        gone = exporter.scrape()
        assert gone.value("fleet_queue_consumers", queue="default") == 0
        assert gone.value("fleet_queue_messages", queue="default", priority="0") == 6, "they are back"
        assert gone.value("celery_task_succeeded_total", **task) == 2, "what was counted stays"


def test_a_worker_that_cannot_answer_is_there(vhost: Vhost, tmp_path: Path) -> None:
    with running(vhost, tmp_path, "solo") as (here, exporter):
        here.start(here.release("r", APP))
        assert until(lambda: exporter.scrape().value("fleet_worker_slots", **ONE) == 1)
        send(vhost, "good", 20)
        with Celery(broker=vhost.url, set_as_current=False) as app:
            assert until(lambda: not app.control.ping(timeout=0.5)), "its loop runs the task"
        busy = exporter.scrape()
        assert busy.value("fleet_worker_up", **ONE) == 1
        assert busy.value("fleet_queue_consumers", queue="default") == 1


@pytest.mark.slow
def test_a_broker_that_comes_back(tmp_path: Path) -> None:
    with (
        running_node(tmp_path / "node") as node,
        node.vhost() as own,
        running(own, tmp_path, management=node.management) as (_, exporter),
    ):
        assert until(lambda: exporter.scrape().value("fleet_broker_memory_max_bytes") == 1_000_000_000), "RabbitMQ looks itself"
        there = exporter.scrape()
        assert (there.value("fleet_broker_up"), there.value("fleet_broker_nodes_up")) == (1, 1)
        assert 0 < (there.value("fleet_broker_memory_bytes") or 0) < 1_000_000_000
        assert there.value("fleet_broker_clients_max")
        node.stop()
        assert exporter.scrape().value("fleet_broker_up") == 0
        node.start()
        up: list[Metrics] = []
        assert until(lambda: up.append(exporter.scrape()) or up[-1].value("fleet_broker_up") == 1)  # type: ignore[func-returns-value]
