"""Which alerts a real Alertmanager sends, of those that fire together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from roles import alerts
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.prometheus_support import alertmanager, ask

pytestmark = pytest.mark.long

CASES = {
    "the broker is down": (
        [
            "BrokerDown severity=page",
            "MonitorBlind severity=page cause=source source=broker",
            "WorkerSilent severity=page queue=default",
            "WorkerSilent severity=warning worker=web-worker-1@web1",
            "QueueUnconsumed severity=page queue=default",
            "BrokerNearLimit severity=page limit=memory",
        ],
        ["BrokerDown severity=page"],
    ),
    "one node of the broker is down": (
        ["BrokerDown severity=warning cause=node", "BrokerNearLimit severity=warning limit=memory"],
        ["BrokerDown severity=warning cause=node", "BrokerNearLimit severity=warning limit=memory"],
    ),
    "the signs are old": (
        [
            "MonitorBlind severity=page cause=source source=signs",
            "WorkerSilent severity=page queue=default",
            "BrokerDown severity=page",
        ],
        ["BrokerDown severity=page"],
    ),
    "the exporter is down": (
        ["MonitorBlind severity=page cause=exporter", "QueueTooOld severity=page queue=default"],
        ["MonitorBlind severity=page cause=exporter"],
    ),
    "the ages are old": (
        [
            "MonitorBlind severity=page cause=source source=ages",
            "QueueTooOld severity=page queue=default",
            "WorkerSilent severity=page queue=default",
        ],
        ["MonitorBlind severity=page cause=source source=ages", "WorkerSilent severity=page queue=default"],
    ),
    "a page and its warning": (
        [
            "QueueTooOld severity=page queue=default",
            "QueueTooOld severity=warning queue=default",
            "QueueTooOld severity=warning queue=batch",
            "BrokerNearLimit severity=page limit=memory",
            "BrokerNearLimit severity=warning limit=memory",
            "BrokerNearLimit severity=warning limit=connections",
        ],
        [
            "BrokerNearLimit severity=page limit=memory",
            "BrokerNearLimit severity=warning limit=connections",
            "QueueTooOld severity=page queue=default",
            "QueueTooOld severity=warning queue=batch",
        ],
    ),
    "a queue that nobody consumes gets old": (
        [
            "QueueUnconsumed severity=page queue=default",
            "QueueTooOld severity=page queue=default",
            "WaitBudgetBurn severity=page queue=default",
            "QueueTooOld severity=page queue=batch",
            "WorkerSilent severity=page queue=default",
        ],
        [
            "QueueTooOld severity=page queue=batch",
            "QueueUnconsumed severity=page queue=default",
            "WorkerSilent severity=page queue=default",
        ],
    ),
}
"""Name → (alerts that fire, those of them that are sent)."""


def labels(alert: str) -> dict[str, str]:
    name, *rest = alert.split()
    return {"alertname": name, **dict(re.findall(r"(\w+)=(\S+)", " ".join(rest)))}


@pytest.mark.parametrize("case", CASES)
def test_what_is_sent(case: str, tmp_path: Path) -> None:
    """An alert is in the API a moment before what inhibits it is known there: what counts is where it comes to rest."""
    firing, sent = CASES[case]
    with alertmanager(tmp_path, alerts.alertmanager()) as url:
        ask(f"{url}/api/v2/alerts", [{"labels": labels(alert)} for alert in firing])
        assert until(lambda: _active(url, len(firing)) == sorted(sent), 10), _active(url, len(firing))
        assert [_active(url, len(firing)) for _ in range(20)] == [sorted(sent)] * 20, "it stays so"


def _active(url: str, firing: int) -> list[str]:
    known = ask(f"{url}/api/v2/alerts")
    assert len(known) == firing
    return sorted(_words(alert["labels"]) for alert in known if alert["status"]["state"] == "active")


def _words(labels: dict[str, str]) -> str:
    order = ["severity", "cause", "source", "limit", "queue", "worker"]
    return " ".join([labels["alertname"], *(f"{name}={labels[name]}" for name in order if name in labels)])
