"""The dashboard for Grafana, against a real Prometheus with a fleet's metrics. Grafana itself is not tried."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.spec.alerts import Alerts
from roles.dashboard import DASHBOARD, files
from tests.unit.prometheus_support import prometheus, query
from tests.unit.roles import contract

CHOSEN = {"$__rate_interval": "1m", "$__range": "3h", "$queue": ".*", "$role": ".*"}


def written() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(next(file.content for file in files("prod", Alerts()) if file.path == DASHBOARD))
    return dashboard


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
    def limits(alerts: Alerts) -> str:
        return next(file.content for file in files("prod", alerts) if file.path == DASHBOARD).decode()

    assert limits(Alerts(blind_after=77)).count("77") == limits(Alerts()).count("77") + 1
