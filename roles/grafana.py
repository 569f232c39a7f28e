"""Panels of a dashboard of Grafana, as its JSON has them.

They name no colours but those of meaning, so they read in dark and light.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

WIDTH = 24
"""Columns of the grid."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Panel = dict[str, Any]


def rows(rows: Iterable[tuple[str, int, list[Panel]]]) -> list[Panel]:
    """All panels with their places and numbers. rows: (title, height of its panels, its panels), from the top."""
    placed: list[Panel] = []
    top = 0
    for title, height, panels in rows:
        placed.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, top, WIDTH, 1)})
        left, top = 0, top + 1
        for panel in panels:
            width = panel["gridPos"]["w"]
            if left + width > WIDTH:
                left, top = 0, top + height
            placed.append(panel | {"gridPos": _at(left, top, width, height)})
            left += width
        top += height
    return [panel | {"id": number} for number, panel in enumerate(placed, 1)]


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def stat(width: int, title: str, unit: str, query: str, **limits: float) -> Panel:
    """The newest value as a number. limits: yellow, red: values from which it has that colour."""
    panel = _panel("stat", width, title, unit, {title: query}, limits)
    return panel | {"options": {"colorMode": "value", "reduceOptions": {"calcs": ["lastNotNull"]}}}


def graph(
    width: int, title: str, unit: str, queries: Mapping[str, str], *, stacked: bool = False, dashed: str = "", **limits: float
) -> Panel:
    """Lines over time. queries: legend → query. dashed: the regular expression of legends that are limits. limits: as of `stat`;
    they are drawn."""
    panel = _panel("timeseries", width, title, unit, queries, limits)
    mode = {"mode": "normal" if stacked else "none"}
    drawn: dict[str, Any] = {"fillOpacity": 30 if stacked else 5, "showPoints": "never", "stacking": mode}
    panel["fieldConfig"]["defaults"] |= {"min": 0, "custom": drawn | ({"thresholdsStyle": {"mode": "line"}} if limits else {})}
    if dashed:
        line = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}}
        properties = [line, {"id": "custom.fillOpacity", "value": 0}]
        panel["fieldConfig"]["overrides"] = [{"matcher": {"id": "byRegexp", "options": f"/{dashed}/"}, "properties": properties}]
    legend = {"displayMode": "list", "placement": "bottom"}
    return panel | {"options": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}}


def table(
    width: int, title: str, queries: Mapping[str, str], *, hidden: Iterable[str] = (), units: Mapping[str, str] | None = None
) -> Panel:
    """The newest values. queries: column → query; results with the same labels are one line. hidden: columns not to show."""
    panel = _panel("table", width, title, "none", queries, {})
    panel["targets"] = [target | {"instant": True, "range": False, "format": "table"} for target in panel["targets"]]
    panel["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": column}, "properties": [{"id": "unit", "value": unit}]}
        for column, unit in (units or {}).items()
    ]
    values = [f"Value #{target['refId']}" for target in panel["targets"]] if len(queries) > 1 else ["Value"]
    names = dict(zip(values, queries, strict=True))
    excluded = dict.fromkeys(("Time", *hidden), True) | {value: True for value, name in names.items() if name in hidden}
    columns = {"id": "organize", "options": {"excludeByName": excluded, "renameByName": names}}
    return panel | {
        "transformations": [{"id": "merge", "options": {}}, columns],
        "options": {"showHeader": True, "cellHeight": "sm"},
    }


def variable(label: str, title: str, metric: str) -> dict[str, Any]:
    """A choice above the dashboard: of the values of a label, some or all."""
    return {
        "name": label,
        "label": title,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": label},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def mark(name: str, query: str, colour: str, title: str) -> dict[str, Any]:
    """A mark on the time axis of every graph, where the query has a result."""
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "expr": query,
        "step": "15s",
        "iconColor": colour,
        "titleFormat": title,
    }


def _panel(kind: str, width: int, title: str, unit: str, queries: Mapping[str, str], limits: Mapping[str, float]) -> Panel:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for number, (legend, query) in enumerate(queries.items())
    ]
    steps = [{"color": "green", "value": None}, *({"color": colour, "value": value} for colour, value in limits.items())]
    defaults = {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}}
    return {
        "type": kind,
        "title": title,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "gridPos": {"w": width},
    }
