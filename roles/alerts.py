"""When Prometheus fires an alert, and whom Alertmanager tells. `docs/monitoring.md` lists the alerts."""

from __future__ import annotations

from fleet.spec.alerts import Alerts
from fleet.state.render import render_go


def rules(alerts: Alerts) -> bytes:
    """`/etc/prometheus/fleet-rules.yml`."""
    return render_go("etc/prometheus/fleet-rules.yml.j2", alerts=alerts)


def alertmanager(webhook: str | None = None) -> bytes:
    """`/etc/prometheus/alertmanager.yml`. webhook: URL that alerts are sent to; None: they are only shown. It may be a secret."""
    return render_go("etc/prometheus/alertmanager.yml.j2", webhook=webhook)
