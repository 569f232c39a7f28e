"""Names and labels: what the exporter has, what Grafana's dashboards for Celery ask for, and what our own tests go by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.fleet_exporter.test_exporter import APP, Exporter, Metrics
from tests.unit.fleet_node.delivery.lease_support import leased, until
from tests.unit.roles import contract

pytestmark = pytest.mark.long

TASK = ("hostname", "name", "queue_name")
ASKED_FOR = {
    "celery_worker_up": ("hostname",),
    "celery_worker_tasks_active": ("hostname",),
    "celery_queue_length": ("queue_name",),
    **{f"celery_task_{state}_total": TASK for state in ("sent", "received", "succeeded", "rejected", "retried", "revoked")},
    "celery_task_failed_total": ("exception", *TASK),
    "celery_task_runtime_bucket": ("hostname", "le", "name", "queue_name"),
    "celery_task_runtime_sum": TASK,
    "celery_task_runtime_count": TASK,
}
"""Metric → labels that the dashboards 17508 and 17509 and celery-exporter's alerts ask for. They find their target by a job whose
name has "celery" in it; labels `cluster` and `namespace` are empty."""
OF_SYSTEMD = {"fleet_worker_memory_bytes", "fleet_worker_memory_max_bytes"}
"""What only a worker in a control group of its own has."""


def names(scrape: Metrics) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(sorted(label for label, _ in labels))
        for name, labels in scrape.samples
        if name.startswith(("celery_", "fleet_"))
    }


def test_names_and_labels(tmp_path: Path) -> None:
    expected = {}
    for series, _ in contract.fleet():
        name, _, labels = series.partition("{")
        expected[name] = tuple(sorted(set(re.findall(r'(\w+)="', labels)) - {"job", "instance"}))
    del expected["up"], expected["ALERTS"]
    with leased(tmp_path, lease=4) as here, here.client() as client:
        exporter = Exporter(here, tmp_path / "exporter")
        here.start(here.release("r", APP))
        with exporter.running():
            for name in ("good", "bad"):
                client.send_task(name, queue="default")
            failed = {"name": "bad", "hostname": "test", "queue_name": "default", "exception": "ValueError"}
            assert until(lambda: exporter.scrape().value("celery_task_failed_total", **failed) == 1, 30)
            found = names(exporter.scrape())
    assert {name: found.get(name) for name in ASKED_FOR} == ASKED_FOR
    assert found == {name: labels for name, labels in expected.items() if name not in OF_SYSTEMD}
