"""Gathers what a report is of: a timeline from Prometheus or a recording, the history of the fleet, and its objectives."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleet.errors import FleetError
from fleet.inventory import ssh
from fleet.inventory.read import read_inventory
from fleet.observe.report import page, prometheus, recording
from fleet.observe.report.marks import drop_planned, rollout_marks
from fleet.observe.report.prometheus import PrometheusError
from fleet.observe.report.timeline import Timeline
from fleet.rollout import lock
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.load import load_fleet


class NoSourceError(FleetError):
    """There is neither Prometheus nor a recording."""

    exit_code = 2


def report(file: Path, source: Path | None, hours: float) -> bytes:
    """The page of the last hours. file: the inventory. source: a recording; None for Prometheus. Raises FleetError."""
    inventory = read_inventory(file)
    fleet = load_fleet(inventory)
    now = time.time()
    timeline = read_timeline(inventory, fleet, source, now, hours)
    return page.render(completed(timeline, fleet, _history(fleet, inventory)), file.stem, now)


def read_timeline(inventory: Inventory, fleet: Fleet, source: Path | None, now: float, hours: float) -> Timeline:
    """The last hours. source: a recording; None for Prometheus. now: seconds since 1970. Raises FleetError."""
    if source:
        return recording.read(source, hours)
    host = fleet.monitor_host
    if host is None:
        raise NoSourceError("the inventory has no group monitor; record with `fleet record`, then --from")
    try:
        with ssh.forward(host, inventory.hosts[host], fleet.monitor_address, prometheus.PORT) as port:
            return prometheus.read(port, now, hours, fleet.monitor.scrape_seconds)
    except PrometheusError as error:
        raise PrometheusError(f"{host}: {error}") from None


def _history(fleet: Fleet, inventory: Inventory) -> list[dict[str, Any]] | str:
    """The runs of the fleet; or why they are not known."""
    host = fleet.records_host
    try:
        return lock.read_history(host, inventory.hosts[host])
    except FleetError as error:
        return str(error)


def completed(timeline: Timeline, fleet: Fleet, history: list[dict[str, Any]] | str) -> Timeline:
    """A timeline with what it does not know by itself: rollouts, and objectives as the settings have them now."""
    objectives: Mapping[str, float] = {**timeline.objectives, **fleet.settings.slo}
    if isinstance(history, str):
        note = f"Rollouts are not known: {history}"
        return replace(timeline, objectives=objectives, notes=(*timeline.notes, note))
    rollouts = rollout_marks(history, timeline.grid.start, timeline.grid.end)
    marks = (*drop_planned(timeline.marks, rollouts), *rollouts)
    return replace(timeline, objectives=objectives, marks=marks)
