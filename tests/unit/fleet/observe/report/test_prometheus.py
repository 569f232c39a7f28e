"""A timeline from a real Prometheus, and answers of another one."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fleet.observe.report import page, prometheus
from fleet.observe.report.prometheus import PrometheusError
from fleet.observe.report.statistics import statistics
from fleet.observe.report.timeline import Grid, Values
from tests.unit.prometheus_support import prometheus as running
from tests.unit.roles import contract
from tests.unit.shop_support import free_port

MINUTES = 90
NODES = ("web-worker-1@web1", "web-worker-1@web2")


def metrics(now: float) -> Iterator[str]:
    """What the exporter gave in the last 90 minutes, by the contract's names, as OpenMetrics.

    The broker was away for 5 minutes, 20 minutes ago. A worker was silent for 10 minutes, an hour ago, and started again. A
    process was killed half an hour ago.
    """

    def unless_away(value: float, ago: float) -> float | None:
        return None if 20 < ago <= 25 else value

    def of_worker(value: float, silent: bool, ago: float) -> float | None:
        return None if silent and 60 < ago <= 70 else unless_away(value, ago)

    first, second = (f'worker="{node}",role="web",host="{node[-4:]}"' for node in NODES)
    failed = 'name="shop.pay",hostname="web1",queue_name="default",exception="ValueError"'
    series: dict[str, Callable[[float], float | None]] = {
        "fleet_broker_up{}": lambda ago: 0 if 20 < ago <= 25 else 1,
        'fleet_queue_age_seconds{queue="default"}': lambda ago: unless_away(90 if 40 < ago < 50 else 2, ago),
        'fleet_queue_objective_seconds{queue="default"}': lambda ago: 10,
        'fleet_queue_messages{queue="default",priority="0"}': partial(unless_away, 50),
        'fleet_queue_messages{queue="default",priority="3"}': partial(unless_away, 50),
        'fleet_queue_in_flight{queue="default",state="prefetched"}': partial(unless_away, 4),
        'fleet_queue_begun_total{queue="default"}': lambda ago: unless_away(120 * (MINUTES - ago), ago),
        f"celery_task_failed_total{{{failed}}}": lambda ago: unless_away(6 * (MINUTES - ago), ago),
        f"fleet_worker_up{{{first}}}": partial(unless_away, 1),
        f"fleet_worker_up{{{second}}}": lambda ago: unless_away(0 if 60 < ago <= 70 else 1, ago),
        f"fleet_worker_start_time_seconds{{{first}}}": partial(unless_away, now - 1e6),
        f"fleet_worker_start_time_seconds{{{second}}}": lambda ago: of_worker(now - (3600 if ago <= 60 else 1e6), True, ago),
        f"fleet_worker_oom_kills_total{{{first}}}": lambda ago: unless_away(1 if ago < 30 else 0, ago),
        'ALERTS{alertname="QueueTooOld",alertstate="firing",queue="default"}': lambda ago: 1 if 40 < ago < 45 else None,
        f'ALERTS{{alertname="CapacityLost",alertstate="firing",cause="restarts",{first}}}': lambda ago: 1 if ago < 6 else None,
    }
    for labels, silent in ((first, False), (second, True)):
        series |= {
            f"fleet_worker_slots{{{labels}}}": partial(of_worker, 8, silent),
            f"fleet_worker_running{{{labels}}}": partial(of_worker, 4, silent),
            f"fleet_worker_memory_bytes{{{labels}}}": partial(of_worker, 600 << 20, silent),
            f"fleet_worker_memory_max_bytes{{{labels}}}": partial(of_worker, 780 << 20, silent),
        }
    for name, value in sorted(series.items()):
        for number in reversed(range(MINUTES * 4)):
            if (known := value(number / 4)) is not None:
                yield f"{name} {known} {now - 15 * number:.3f}\n"
    yield "# EOF\n"


@pytest.mark.long
def test_a_timeline_from_prometheus(tmp_path: Path) -> None:
    now = time.time()
    (tmp_path / "metrics").write_text("".join(metrics(now)))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(tmp_path / "metrics"), str(tmp_path / "data")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with running(tmp_path) as url:
        port = int(url.rpartition(":")[2])
        timeline = prometheus.read(port, now, 6)
        empty = prometheus.read(port, now, 0.05)
        with pytest.raises(PrometheusError, match=r"has nothing of this fleet in the last 0\.5 hours"):
            prometheus.read(port, now - 86400, 0.5)
    assert MINUTES * 60 <= timeline.grid.seconds <= MINUTES * 60 + 3 * timeline.grid.step, "what was before it began is left out"
    assert timeline.objectives == {"default": 10}
    default = timeline.queues["default"]
    assert (max(filter(None, default.age)), default.age[-1]) == (90, 2)
    assert None in default.age
    assert set(default.waiting) == {100, None}
    middle = timeline.grid.number // 3
    assert round(default.begun[middle] or 0, 3) == 2
    assert round(default.incoming[middle] or 0, 3) == 2
    assert round(default.failed[middle] or 0, 3) == 0.1
    assert (timeline.roles["web"].slots[-1], timeline.roles["web"].busy[-1]) == (16, 8)
    assert {name: series.memory[-1] for name, series in timeline.workers.items()} == dict.fromkeys(NODES, 600 << 20)
    assert abs(timeline.away_s - 300) < 90
    assert [(failure.task, failure.exception) for failure in timeline.failures] == [("shop.pay", "ValueError")]
    assert abs(timeline.failures[0].number - 6 * MINUTES) < 40
    numbers = statistics(timeline)
    assert round(numbers.failed) == timeline.failures[0].number, "the page counts the same failures in two tables"
    assert abs(numbers.begun - 120 * MINUTES) < 120, "also those of the minutes of which no rate is known"
    found = {mark.text: (now - mark.at) / 60 for mark in timeline.marks}
    expected = {
        "web-worker-1@web2 gave no sign of life, then started again": 70,
        "alert QueueTooOld (queue default)": 45,
        "alert CapacityLost (web-worker-1@web1, restarts)": 6,
        "web-worker-1@web1 had a process killed for memory": 30,
        "the broker was away": 25,
    }
    assert found.keys() == expected.keys()
    assert all(abs(found[text] - ago) < 3 for text, ago in expected.items())
    assert empty.grid.number >= 10
    assert b"gave no sign of life" in page.render(timeline, "prod", now)


@pytest.mark.parametrize(
    ("broker", "number", "marks"),
    [
        ((None, 1, 1, 1), 3, []),
        ((1, 1, 1, None), 3, []),  # the last minute has only begun
        ((1, 1, None, None), 4, ["the exporter did not answer: nothing is known"]),
    ],
)
def test_a_point_that_has_only_begun_is_no_fault(broker: Values, number: int, marks: list[str]) -> None:
    answers: dict[str, dict[tuple[str, ...], Values]] = {name: {} for name in prometheus.queries(60, 15)}
    timeline = prometheus.timeline_of({**answers, "broker": {(): broker}}, Grid(0, 60, 4), ())
    assert timeline.grid.number == len(timeline.known) == number
    assert [mark.text for mark in timeline.marks] == marks


def test_queries_name_what_the_exporter_has() -> None:
    """The contract is held against the exporter by its own tests."""
    labels = {series.partition("{")[0]: set(re.findall(r'(\w+)="', series)) for series, _ in contract.fleet()}
    for expression, of in prometheus.queries(60, 15).values():
        (metric,) = re.findall(r"\b((?:fleet|celery)_\w+|ALERTS)", expression)
        assert metric in labels
        assert set(of) <= labels[metric] | ({"worker", "name", "cause", "limit"} if metric == "ALERTS" else set())


def answer(values: str) -> bytes:
    """One series, to all questions."""
    return f'{{"status":"success","data":{{"result":[{{"metric":{{}},{values}}}]}}}}'.encode()


class Answering(BaseHTTPRequestHandler):
    """Answers everything alike."""

    body = b""
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"", "what answers is no Prometheus: status 200 OK, nothing"),
        (502, b"<html>\nBad</html>", "what answers is no Prometheus: status 502 Bad Gateway, b'<html>\\nBad</html>'"),
        (200, b"[]", "what answers is no Prometheus: status 200 OK, b'[]'"),
        (200, b"[" * 100_000, "what answers is no Prometheus: status 200 OK, b'[[["),
        (422, b'{"status":"error","error":"too many samples"}', "Prometheus refuses a question: too many samples"),
        (200, b'{"status":"success","data":{"result":[{"metric":3}]}}', "Prometheus answers in another form: "),
        (200, answer('"values":[[Infinity,"1"]]'), "Prometheus answers in another form: 'value'"),
        (200, b'{"status":"success","data":{"result":[]}}', "Prometheus has nothing of this fleet in the last 6 hours"),
    ],
)
def test_another_server_in_its_place(status: int, body: bytes, why: str) -> None:
    handler = type("Handler", (Answering,), {"body": body, "status": status})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            with pytest.raises(PrometheusError) as refused:
                prometheus.read(server.server_port, time.time(), 6)
        finally:
            server.shutdown()
            serving.join()
    assert str(refused.value).startswith(why)
    assert "\n" not in str(refused.value)


def test_nobody_in_its_place() -> None:
    with pytest.raises(PrometheusError, match=r"Prometheus does not answer: .*refused"):
        prometheus.read(free_port(), time.time(), 6)
