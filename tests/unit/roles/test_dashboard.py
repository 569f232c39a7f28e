"""The dashboard for Grafana, against a real Prometheus with a fleet's metrics. Grafana itself is not tried."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from fleet.spec.alerts import Alerts
from fleet_balancer.__main__ import Metrics
from roles import monitor
from roles.dashboard import DASHBOARD, DATASOURCE, FOLDERS, PROVIDER, dashboard, files
from tests.unit.fleet_support import fleet_of
from tests.unit.prometheus_support import prometheus, query
from tests.unit.roles import contract

CHOSEN = {"$__rate_interval": "1m", "$__range": "3h", "$queue": ".*", "$role": ".*"}


def written(alerts: Alerts | None = None) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(dashboard("shop.app", alerts or Alerts()))
    return whole


def panels() -> list[dict[str, Any]]:
    return [panel for panel in written()["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """(where it stands, the query) of every panel and every mark, as Grafana would ask them."""
    named = [(f"{panel['title']}: {target['legendFormat']}", target["expr"]) for panel in panels() for target in panel["targets"]]
    named += [(mark["name"], mark["expr"]) for mark in written()["annotations"]["list"]]
    for name, expression in named:
        for variable, value in CHOSEN.items():
            expression = expression.replace(variable, value)  # noqa: PLW2901
        yield name, expression


@pytest.mark.long
def test_every_panel_has_data(tmp_path: Path) -> None:
    end = time.time()
    contract.write(tmp_path, end)
    with prometheus(tmp_path) as url:
        without = [name for name, expression in queries() if not query(url, expression, end - 30)]
    assert without == []


def test_panels_do_not_overlap_and_have_units() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in written()["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
    assert [panel["title"] for panel in panels() if not panel["fieldConfig"]["defaults"]["unit"]] == []
    numbers = [panel["id"] for panel in written()["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_limits_are_those_of_the_alerts() -> None:
    def limits(alerts: Alerts) -> list[float]:
        steps = [
            panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
            for panel in written(alerts)["panels"]
            if "fieldConfig" in panel
        ]
        return [step["value"] for some in steps for step in some]

    assert 77 in limits(Alerts(blind_after=77))
    assert 77 not in limits(Alerts())


def test_a_deploy_watches_what_it_writes_for_grafana() -> None:
    fleet = fleet_of({"web": {"queues": ["default"], "workload": "io", "time_limit": 60}}, app_source="examples/shop")
    written = {file.path: file.content.decode() for file in files(fleet)}
    assert {*written, *FOLDERS} <= set(monitor.PATHS)
    assert {path.rpartition("/")[0] for path in written} <= set(FOLDERS)
    assert "http://127.0.0.1:9090" in written[DATASOURCE]
    assert DASHBOARD.rpartition("/")[0] in written[PROVIDER]


def test_every_metric_is_documented_with_its_labels() -> None:
    page = (Path(__file__).parents[3] / "docs/monitoring.md").read_text()
    rows = [line.strip("|").split("|") for line in page.splitlines() if re.match(r"\| `(fleet|celery)_", line)]
    documented = {name: tuple(re.findall(r"\w+", labels)) for names, labels, _ in rows for name in re.findall(r"`(\w+)`", names)}
    metrics = {}
    for series, _ in contract.fleet():
        name, _, labels = series.partition("{")
        own = tuple(label for label in re.findall(r'(\w+)="', labels) if label not in {"job", "instance", "le"})
        metrics[re.sub(r"(runtime|wait_time|wait_seconds)_(bucket|sum|count)$", r"\1", name)] = own
    metrics |= dict.fromkeys(contract.OF_RABBITMQ, ())
    of_balancer = {name: documented.pop(name) for name in [*documented] if name.startswith("fleet_balance_")}
    registry = CollectorRegistry()
    Metrics(registry)
    assert of_balancer.keys() == {f"{family.name}{'_total' * (family.type == 'counter')}" for family in registry.collect()}
    assert documented == {name: labels for name, labels in metrics.items() if name not in {"up", "ALERTS"}}
