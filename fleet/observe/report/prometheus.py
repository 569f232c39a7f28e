"""A timeline from the Prometheus of the monitor's machine: which queries, and what their answers mean."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from fleet.errors import FleetError
from fleet.observe.report.marks import Fault, Point, faults_of, span_marks, worker_marks
from fleet.observe.report.timeline import (
    Failure,
    Grid,
    Mark,
    QueueSeries,
    RoleSeries,
    Timeline,
    Total,
    Values,
    WorkerSeries,
    counted,
    finite,
    grid,
)

PORT = 9090
PATIENCE = 30.0
"""Seconds for each answer."""
FAILING = 10
"""Tasks and exceptions that are named."""

ALERT = ("alertname", "queue", "worker", "name", "cause", "limit")
"""Labels that tell alerts apart; severity is none of them, since a warning and its page are one thing that happened."""

Answers = Mapping[str, Mapping[tuple[str, ...], Values]]
"""Query → values of its labels → numbers."""


class PrometheusError(FleetError):
    """Prometheus does not answer, or knows nothing. str() says why."""

    exit_code = 2


def queries(step: float, scraped: float) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name → (the expression, the labels of its answers). Each point is for the step before it. scraped: seconds from one scrape
    to the next."""
    seen = f"[{max(step, 2 * scraped):g}s]"
    rate = f"[{max(step, 4 * scraped):g}s]"
    queue, worker = ("queue",), ("worker", "role")
    return {
        "age": (f"max by (queue) (max_over_time(fleet_queue_age_seconds{seen}))", queue),
        "waiting": (f"sum by (queue) (max_over_time(fleet_queue_messages{seen}))", queue),
        "objective": (f"max by (queue) (last_over_time(fleet_queue_objective_seconds{seen}))", queue),
        "begun": (f"sum by (queue) (rate(fleet_queue_begun_total{rate}))", queue),
        "there": (f"sum by (queue) (last_over_time(fleet_queue_messages{seen}))", queue),
        "held": (f'sum by (queue) (last_over_time(fleet_queue_in_flight{{state=~"prefetched|eta"}}{seen}))', queue),
        "failed": (f"sum by (queue_name) (rate(celery_task_failed_total{rate}))", ("queue_name",)),
        "busy": (f"sum by (role) (avg_over_time(fleet_worker_running{seen}))", ("role",)),
        "slots": (f"sum by (role) (avg_over_time(fleet_worker_slots{seen}))", ("role",)),
        "memory": (f"max by (worker, role) (max_over_time(fleet_worker_memory_bytes{seen}))", worker),
        "cap": (f"max by (worker, role) (max_over_time(fleet_worker_memory_max_bytes{seen}))", worker),
        "up": (f"max by (worker, role) (last_over_time(fleet_worker_up{seen}))", worker),
        "started": (f"max by (worker, role) (last_over_time(fleet_worker_start_time_seconds{seen}))", worker),
        "killed": (f"max by (worker, role) (last_over_time(fleet_worker_oom_kills_total{seen}))", worker),
        "broker": (f"min(min_over_time(fleet_broker_up{seen}))", ()),
        "away": (f"sum(avg_over_time(fleet_broker_up{seen}))", ()),
        "alerts": (
            f'max by ({", ".join(ALERT)}) (last_over_time(ALERTS{{alertstate="firing"}}{seen}))',
            ALERT,
        ),
    }


def read(port: int, now: float, hours: float, scraped: float = 15) -> Timeline:
    """The last hours from the Prometheus at a port of this machine. now: seconds since 1970. scraped: seconds between
    two scrapes. Raises PrometheusError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        return _read(connection, now, hours, scraped)
    finally:
        connection.close()


def _read(connection: http.client.HTTPConnection, now: float, hours: float, scraped: float) -> Timeline:
    points = grid(now - hours * 3600, now, scraped)
    answers: dict[str, dict[tuple[str, ...], Values]] = {}
    for name, (expression, labels) in queries(points.step, scraped).items():
        window = {"start": points.time(1), "end": points.end, "step": points.step}
        answers[name] = parse(_ask(connection, "query_range", {"query": expression, **window}), labels, points)
    failing = f"topk({FAILING}, sum by (name, exception) (increase(celery_task_failed_total[{points.seconds:g}s])) > 0)"
    failures = parse_failures(_ask(connection, "query", {"query": failing, "time": now}))
    begun, failed = (
        parse_totals(
            _ask(connection, "query", {"query": f"sum by ({of}) (increase({metric}[{points.seconds:g}s]))", "time": now}), of
        )
        for metric, of in (("fleet_queue_begun_total", "queue"), ("celery_task_failed_total", "queue_name"))
    )
    totals = {queue: Total(begun.get(queue), failed.get(queue)) for queue in {**begun, **failed}}
    if not answers["broker"] and not answers["age"]:
        raise PrometheusError(
            f"Prometheus has nothing of this fleet in the last {hours:g} hours: is its job celery-fleet up? "
            "On the monitor's machine, http://127.0.0.1:9090/targets says."
        )
    return replace(timeline_of(answers, points, failures), totals=totals)


def parse(result: object, labels: Sequence[str], points: Grid) -> dict[tuple[str, ...], Values]:
    """What query_range answers, on the grid: by the values of the labels. Raises PrometheusError if it has another shape."""
    series: dict[tuple[str, ...], Values] = {}
    try:
        for entry in result:  # type: ignore[attr-defined]
            values: list[float | None] = [None] * points.number
            for at, text in entry["values"]:
                index = round(((finite(at) or 0.0) - points.start) / points.step) - 1
                if 0 <= index < points.number:
                    values[index] = finite(float(text))
            series[tuple(str(entry["metric"].get(label, "")) for label in labels)] = tuple(values)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise PrometheusError(f"Prometheus answers in another form: {error}") from None
    return series


def parse_failures(result: object) -> tuple[Failure, ...]:
    """What `query` answers: tasks that failed, the most often first."""
    try:
        failures = [
            Failure(
                str(of["metric"].get("name", "")),
                str(of["metric"].get("exception", "")),
                round(finite(float(of["value"][1])) or 0),
            )
            for of in result  # type: ignore[attr-defined]
        ]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise PrometheusError(f"Prometheus answers in another form: {error}") from None
    return tuple(sorted((failure for failure in failures if failure.number), key=lambda failure: -failure.number))


def parse_totals(result: object, label: str) -> dict[str, float]:
    """What `query` answers: a number for each value of a label."""
    try:
        numbers = {str(of["metric"].get(label, "")): finite(float(of["value"][1])) for of in result}  # type: ignore[attr-defined]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise PrometheusError(f"Prometheus answers in another form: {error}") from None
    return {name: number for name, number in numbers.items() if number is not None}


def timeline_of(answers: Answers, points: Grid, failures: tuple[Failure, ...]) -> Timeline:
    """Put the answers together. What lies before Prometheus began is left out, and a last point that is younger than its last
    scrape: it says nothing yet."""
    nothing: Values = (None,) * points.number
    broker = next(iter(answers["broker"].values()), nothing)
    first = next((index for index, value in enumerate(broker) if value is not None), 0)
    has_begun = points.number > 1 and broker[-1] is None and broker[-2] is not None
    end = points.number - has_begun
    points = Grid(points.time(first), points.step, end - first)
    cut = {name: {labels: values[first:end] for labels, values in series.items()} for name, series in answers.items()}
    broker, nothing = broker[first:end], nothing[first:end]
    known = tuple(None if value is None else 1.0 for value in broker)

    def of(name: str, *labels: str) -> Values:
        return cut[name].get(labels, nothing)

    queues = {}
    for (queue,) in {**cut["age"], **cut["waiting"]}:
        begun = of("begun", queue)
        queues[queue] = QueueSeries(
            age=of("age", queue),
            waiting=of("waiting", queue),
            incoming=_incoming(begun, of("there", queue), of("held", queue), points.step),
            begun=begun,
            failed=counted(of("failed", queue), known),
        )
    objectives = {queue: last for (queue,), values in cut["objective"].items() if (last := _last(values)) is not None}
    up = next(iter(cut["away"].values()), nothing)
    return Timeline(
        source="Prometheus",
        grid=points,
        known=known,
        queues=queues,
        roles={role: RoleSeries(busy, of("slots", role)) for (role,), busy in cut["busy"].items()},
        workers={
            worker: WorkerSeries(role, memory, _limits(of("cap", worker, role)))
            for (worker, role), memory in cut["memory"].items()
        },
        marks=tuple(_marks(cut, points, broker)),
        failures=failures,
        away_s=sum((1 - value) * points.step for value in up if value is not None),
        objectives=objectives,
    )


def _marks(answers: Answers, points: Grid, broker: Values) -> list[Mark]:
    def times(values: Values) -> list[tuple[float, float | None]]:
        return [(points.time(index), value) for index, value in enumerate(values)]

    faults: list[Fault] = []
    nothing: Values = (None,) * points.number
    for labels, up in answers["up"].items():
        started, killed = (answers[name].get(labels, nothing) for name in ("started", "killed"))
        moments = [
            Point(points.time(index), None if value is None else value > 0, started[index], killed[index])
            for index, value in enumerate(up)
        ]
        faults += faults_of(labels[0], moments)
    marks = worker_marks(faults)
    marks += span_marks(
        "fault", "the broker was away", [(at, None if value is None else value < 1) for at, value in times(broker)]
    )
    marks += span_marks(
        "fault", "the exporter did not answer: nothing is known", [(at, value is None) for at, value in times(broker)]
    )
    for (name, queue, *others), values in answers["alerts"].items():
        about = ", ".join(filter(None, (f"queue {queue}" if queue else "", *others)))
        text = f"alert {name}{f' ({about})' if about else ''}"
        marks += span_marks("alert", text, [(at, bool(value)) for at, value in times(values)])
    return marks


def _incoming(begun: Values, there: Values, held: Values, step: float) -> Values:
    """Messages that came a second: those that began, and what waits or is held more than before."""
    incoming: list[float | None] = []
    before: float | None = None
    for rate, waiting, fetched in zip(begun, there, held, strict=True):
        now = None if waiting is None else waiting + (fetched or 0)
        incoming.append(None if rate is None or now is None or before is None else max(0.0, rate + (now - before) / step))
        before = now
    return tuple(incoming)


def _limits(values: Values) -> Values:
    """A limit of zero is none."""
    return tuple(value or None for value in values)


def _last(values: Values) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _ask(connection: http.client.HTTPConnection, what: str, parameters: Mapping[str, Any]) -> Any:
    try:
        connection.request(
            "POST",
            f"/api/v1/{what}",
            urlencode(parameters),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise PrometheusError(f"Prometheus does not answer: {error or type(error).__name__}") from None
    try:
        body = json.loads(text)
        if body["status"] != "success":
            raise PrometheusError(f"Prometheus refuses a question: {body.get('error')}")
        return body["data"]["result"]
    except (ValueError, KeyError, TypeError, RecursionError):
        began = f"{text[:80]!r}" if text else "nothing"
        raise PrometheusError(f"what answers is no Prometheus: status {answer.status} {answer.reason}, {began}") from None
