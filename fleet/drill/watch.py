"""What Prometheus and Alertmanager of the fleet's monitor say of alerts, read again and again while a drill goes on."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from fleet.drill.errors import DrillError

EVERY = 5.0
"""Seconds between two looks."""
PATIENCE = 20.0
"""Seconds for an answer."""
ERRORS = (OSError, ValueError, KeyError, http.client.HTTPException)
"""What is raised if there is no answer, or none that can be read."""


@dataclass(frozen=True)
class Alert:
    """An alert that fires. labels: which of its kind. since: when its condition came true (seconds since 1970). waits: its `for`,
    in seconds. sent: whether Alertmanager sends it, and does not hold it back because another says more."""

    name: str
    labels: tuple[tuple[str, str], ...]
    since: float
    waits: float
    sent: bool = True

    @property
    def fired_at(self) -> float:
        """Seconds since 1970 at which it began to fire, to the interval between two evaluations."""
        return self.since + self.waits


@dataclass(frozen=True)
class Look:
    """What was said at one moment. fires: alerts that fire. pending: names of those whose `for` is not over."""

    fires: tuple[Alert, ...] = ()
    pending: frozenset[str] = field(default_factory=frozenset)


def parse(rules: Mapping[str, Any], sent: Iterable[Mapping[str, Any]]) -> Look:
    """rules: the answer of Prometheus' /api/v1/rules. sent: that of Alertmanager's /api/v2/alerts, of those it sends."""
    going_out = {_labels(alert["labels"]) for alert in sent}
    fires, pending = [], set()
    for group in rules["data"]["groups"]:
        for rule in group["rules"]:
            for alert in rule.get("alerts", ()):
                if alert["state"] == "pending":
                    pending.add(rule["name"])
                elif alert["state"] == "firing":
                    since = datetime.fromisoformat(_short(alert["activeAt"])).timestamp()
                    labels = _labels(alert["labels"])
                    fires.append(Alert(rule["name"], labels, since, float(rule["duration"]), labels in going_out))
    return Look(tuple(fires), frozenset(pending))


def _labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _short(text: str) -> str:
    """A time of Prometheus' with at most six decimals, as Python reads it."""
    head, _, rest = text.partition(".")
    return f"{head}+00:00" if rest else text.replace("Z", "+00:00")


class Watch:
    """Looks from a thread of its own while the context lasts, and keeps all that it saw. prometheus, alertmanager: ports of this
    machine. An answer that does not come is no error: an emulated machine may take its time."""

    def __init__(self, prometheus: int, alertmanager: int) -> None:
        self._ports = (prometheus, alertmanager)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ahead = 0.0
        self.last = Look()
        self.fired: dict[tuple[str, tuple[tuple[str, str], ...], float], Alert] = {}
        """(name, labels, since) → alert, of all that was sent since `forget`."""

    def __enter__(self) -> Watch:
        try:
            self._ahead = float(_get(self._ports[0], "/api/v1/query?query=time()")["data"]["result"][0]) - time.time()
            self.look()
        except ERRORS as error:
            raise DrillError(f"the monitor's Prometheus or Alertmanager does not answer: {error!r}") from None
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def forget(self) -> None:
        """Begin anew: what fires now is no answer to what comes."""
        self.fired.clear()

    def now(self) -> float:
        """Seconds since 1970 by Prometheus' clock."""
        return time.time() + self._ahead

    def number(self, expression: str) -> float:
        """The value of an expression that has one; 0 if it has none. Raises DrillError."""
        try:
            result = _get(self._ports[0], f"/api/v1/query?{urlencode({'query': expression})}")["data"]["result"]
        except ERRORS as error:
            raise DrillError(f"the monitor's Prometheus does not answer: {error!r}") from None
        return float(result[0]["value"][1]) if result else 0.0

    def look(self) -> None:
        """Look once. Raises one of ERRORS."""
        prometheus, alertmanager = self._ports
        rules = _get(prometheus, "/api/v1/rules?type=alert")
        sent = _get(alertmanager, "/api/v2/alerts?active=true&inhibited=false&silenced=false")
        self.last = parse(rules, sent)
        for alert in self.last.fires:
            if alert.sent:
                self.fired[alert.name, alert.labels, alert.since] = alert

    def wait(self, until: Callable[[], bool], seconds: float, check: Callable[[], None] = lambda: None) -> bool:
        """Wait for something. Returns whether it came true in time. check: raises what ends the drill."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            check()
            if until():
                return True
            time.sleep(0.5)
        return until()

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            try:
                self.look()
            except ERRORS:
                continue


def _get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"{path}: {answer.status} {answer.reason}")
        return json.loads(answer.read())
    finally:
        connection.close()
