"""The fleet's dashboard for Grafana, and what makes Grafana show it."""

from __future__ import annotations

import json

from fleet.spec.alerts import Alerts
from fleet.spec.fleet import Fleet
from fleet.state.desired import File
from fleet.state.render import render
from roles.grafana import Panel, graph, mark, rows, stat, table, variable

DASHBOARD = "/etc/grafana/dashboards/celery-fleet.json"
DATASOURCE = "/etc/grafana/provisioning/datasources/fleet.yml"
PROVIDER = "/etc/grafana/provisioning/dashboards/fleet.yml"
FOLDERS = tuple(
    f"/etc/grafana{folder}"
    for folder in ("", "/dashboards", "/provisioning", "/provisioning/datasources", "/provisioning/dashboards")
)

Q, W = '{queue=~"$queue"}', '{role=~"$role"}'
TASKS = '{job="celery-fleet", queue_name=~"$queue"}'
RATE = "[$__rate_interval]"
BY_WORKER = "max by (worker, role, host)"
BEGUN = f"sum by (queue) (rate(fleet_queue_begun_total{Q}{RATE}))"


def files(fleet: Fleet) -> tuple[File, ...]:
    """What a Grafana on the monitor's machine needs to show the dashboard."""
    values = {"address": fleet.monitor_address, "seconds": fleet.monitor.scrape_seconds}
    provisioning = (File(path, render(f"{path.lstrip('/')}.j2", **values)) for path in (DATASOURCE, PROVIDER))
    return (File(DASHBOARD, dashboard(fleet.settings.celery_app, fleet.monitor.alerts)), *provisioning)


def dashboard(title: str, alerts: Alerts) -> bytes:
    """The dashboard as JSON. title: the fleet's, e.g. its app. Limits in it are those at which alerts fire."""
    source = {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus", "current": {}}
    variables = [source, variable("queue", "Queue", "fleet_queue_consumers"), variable("role", "Role", "fleet_worker_expected")]
    new = "count by (release) (fleet_worker_info) unless on (release) count by (release) (fleet_worker_info offset 1m)"
    marks = [
        mark("Deploys", new, "blue", "release {{release}}"),
        mark("Pages", 'ALERTS{alertstate="firing", severity="page"}', "red", "{{alertname}} {{queue}}"),
    ]
    panels = rows(
        [
            ("Verdict", 5, _verdict(alerts)),
            ("Queues", 8, _queues(alerts)),
            ("Workers", 9, _workers()),
            ("Tasks", 8, _tasks()),
            ("Broker", 7, _broker(alerts)),
            ("Monitor", 6, _monitor(alerts)),
        ]
    )
    whole = {
        "uid": "celery-fleet",
        "title": f"Celery fleet: {title}",
        "tags": ["celery"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables},
        "annotations": {"list": marks},
        "panels": panels,
    }
    return json.dumps(whole, indent=1).encode() + b"\n"


def _verdict(alerts: Alerts) -> list[Panel]:
    def firing(severity: str) -> str:
        return f'count(ALERTS{{alertstate="firing", severity="{severity}"}}) or vector(0)'

    def total(metric: str) -> str:
        return f"sum(max by (worker) ({metric}{W}))"

    missing = f"sum(max by (worker) (fleet_worker_expected{W}) unless on (worker) max by (worker) (fleet_worker_up{W}) == 1)"
    age = f"max(fleet_queue_age_seconds{Q} / on (queue) fleet_queue_objective_seconds{Q})"
    busy = f"{total('fleet_worker_running')} / {total('fleet_worker_slots')}"
    return [
        stat(3, "Pages", "none", firing("page"), red=1),
        stat(3, "Warnings", "none", firing("warning"), yellow=1),
        table(
            8, "Firing", {"Firing": 'ALERTS{alertstate="firing"}'}, hidden=("__name__", "alertstate", "Value", "instance", "job")
        ),
        stat(4, "Oldest task, of its objective", "percentunit", age, yellow=1, red=alerts.queue_old_page),
        stat(3, "Slots busy", "percentunit", busy, yellow=alerts.slots_busy / 100),
        stat(3, "Workers missing", "none", f"{missing} or vector(0)", red=1),
    ]


def _queues(alerts: Alerts) -> list[Panel]:
    def wait(quantile: float) -> str:
        return f"histogram_quantile({quantile}, sum by (queue, le) (rate(fleet_queue_wait_seconds_bucket{Q}{RATE})))"

    ages = {
        "{{queue}}": f"max by (queue) (fleet_queue_age_seconds{Q})",
        "{{queue}} objective": f"max by (queue) (fleet_queue_objective_seconds{Q})",
    }
    waits = {"{{queue}} p50": wait(0.5), "{{queue}} p95": wait(0.95), "{{queue}} p99": wait(0.99)}
    waiting = {"{{queue}} {{priority}}": f"sum by (queue, priority) (fleet_queue_messages{Q})"}
    in_flight = {"{{queue}} {{state}}": f"sum by (queue, state) (fleet_queue_in_flight{Q})"}
    growth = f"sum by (queue) (deriv(fleet_queue_messages{Q}{RATE}))"
    throughput = {"{{queue}} come": f"clamp_min({BEGUN} + {growth}, 0)", "{{queue}} begin": BEGUN}
    all_slots = f"max by (queue) (fleet_queue_slots{Q})"
    slots = {"{{queue}}": f"{all_slots} - max by (queue) (fleet_queue_free_slots{Q})", "{{queue}} all": all_slots}
    late = {"{{queue}}": f"sum by (queue) (rate(fleet_queue_late_total{Q}{RATE})) / ({BEGUN} > 0)"}
    consumers = {
        "consumers": f"max by (queue) (fleet_queue_consumers{Q})",
        "expected": f"max by (queue) (fleet_queue_consumers_expected{Q})",
        "least": f"max by (queue) (fleet_queue_consumers_min{Q})",
        "waiting": f"sum by (queue) (fleet_queue_messages{Q})",
        "oldest, at most": f"max by (queue) (fleet_queue_age_upper_seconds{Q})",
    }
    return [
        graph(12, "Age of the oldest waiting task, and its objective (dashed)", "s", ages, dashed=" objective$"),
        graph(12, "How long tasks waited that began", "s", waits),
        graph(12, "Waiting, by priority", "short", waiting, stacked=True),
        graph(12, "In flight, by state", "short", in_flight, stacked=True),
        graph(8, "Tasks that come, and that begin", "ops", throughput),
        graph(8, "Slots busy, of all (dashed)", "short", slots, dashed=" all$"),
        graph(8, f"Tasks that began late ({alerts.late_budget:g}% may)", "percentunit", late, red=alerts.late_budget / 100),
        table(24, "Consumers", consumers, units={"oldest, at most": "s"}),
    ]


def _workers() -> list[Panel]:
    columns = {
        "expected": "fleet_worker_expected",
        "up": "fleet_worker_up",
        "heard": "fleet_worker_heard_seconds",
        "consumes": "fleet_worker_consuming",
        "drains": "fleet_worker_draining",
        "slots": "fleet_worker_slots",
        "running": "fleet_worker_running",
        "fetched": "fleet_worker_prefetched",
        "ETA": "fleet_worker_eta",
        "overdue": "fleet_worker_overdue",
        "oldest running": "fleet_worker_oldest_running_seconds",
        "memory": "fleet_worker_memory_bytes",
        "at most": "fleet_worker_memory_max_bytes",
    }
    queries = {"info": f"max by (worker, role, host, release, pool) (fleet_worker_info{W})"}
    queries |= {column: f"{BY_WORKER} ({metric}{W})" for column, metric in columns.items()}
    memory = f"{BY_WORKER} (fleet_worker_memory_bytes{W}) / ({BY_WORKER} (fleet_worker_memory_max_bytes{W}) > 0)"
    starts = {
        "{{worker}} starts": f"{BY_WORKER} (changes(fleet_worker_start_time_seconds{W}[15m]))",
        "{{worker}} kills": f"{BY_WORKER} (increase(fleet_worker_oom_kills_total{W}[15m]))",
    }
    busy = f"sum by (role) (fleet_worker_running{W}) / sum by (role) (fleet_worker_slots{W})"
    releases = {"{{release}}": f"count by (release) (fleet_worker_info{W})"}
    units = {"heard": "s", "oldest running": "s", "memory": "bytes", "at most": "bytes"}
    return [
        table(24, "Workers that should be, and that are", queries, hidden=("info",), units=units),
        graph(8, "Memory, of at most", "percentunit", {"{{worker}}": memory}, red=0.9),
        graph(8, "Slots busy, by role", "percentunit", {"{{role}}": busy}),
        graph(8, "Starts, and kills for memory, within 15 minutes", "short", starts),
        graph(12, "Workers of each release", "short", releases, stacked=True),
        graph(12, "Devices", "none", {"{{worker}}": f"{BY_WORKER} (fleet_worker_device_available{W})"}),
    ]


def _tasks() -> list[Panel]:
    outcomes = ("succeeded", "failed", "retried", "rejected", "revoked")
    ends = {outcome: f"sum(rate(celery_task_{outcome}_total{TASKS}{RATE}))" for outcome in outcomes}
    failures = f"sum by (name, exception) (increase(celery_task_failed_total{TASKS}[$__range])) > 0"
    runtime = f"histogram_quantile(0.95, sum by (name, le) (rate(celery_task_runtime_bucket{TASKS}{RATE})))"
    return [
        graph(8, "Tasks that end, by outcome", "ops", ends),
        table(8, "Failures, by task and exception", {"failures": failures}),
        graph(8, "Run time, 95th percentile of tasks that succeeded", "s", {"{{name}}": runtime}),
    ]


def _broker(alerts: Alerts) -> list[Panel]:
    used, most = "max(fleet_broker_memory_bytes)", "max(fleet_broker_memory_max_bytes)"
    clients = {"open": "max(fleet_broker_clients)", "at most": "max(fleet_broker_clients_max)"}
    share = f"{used} / ({most} > 0)"
    return [
        graph(8, "Memory", "bytes", {"used": used, "at most": most}, dashed="^at most$"),
        stat(4, "Memory, of at most", "percentunit", share, yellow=alerts.broker_used / 100, red=alerts.broker_full / 100),
        graph(6, "Connections", "short", clients, dashed="^at most$"),
        graph(6, "Commands", "ops", {"commands": f"sum(rate(fleet_broker_commands_total{RATE}))"}),
        graph(8, "Parked tasks (dead letters)", "short", {"parked": "max(fleet_dead_letters)"}),
        stat(8, "Answers", "bool_yes_no", "max(fleet_broker_up)"),
        stat(8, "Writes to disk", "bool_yes_no", "max(fleet_broker_persistence_ok)"),
    ]


def _monitor(alerts: Alerts) -> list[Panel]:
    ages = {"{{source}}": "max by (source) (fleet_source_age_seconds)"}
    return [
        graph(8, "How old what is shown is", "s", ages, red=alerts.blind_after),
        graph(8, "Time of a scrape", "s", {"exporter": "max(fleet_exporter_scrape_seconds)"}),
        graph(4, "Redis commands of a scrape", "short", {"commands": "max(fleet_exporter_commands)"}),
        stat(4, "Tasks without their host", "bool_yes_no", "max(fleet_exporter_series_folded)"),
    ]
