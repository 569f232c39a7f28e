"""Which alerts fire when, by promtool: rules and series as Prometheus has them, in its own time."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fleet.spec.alerts import Alerts
from fleet.state.render import TEMPLATES
from roles import alerts

pytestmark = pytest.mark.long

DOCS = Path(__file__).parents[3] / "docs"
NAMES = (
    "BrokerDown",
    "BrokerNearLimit",
    "QueueUnconsumed",
    "QueueStalled",
    "QueueTooOld",
    "WaitBudgetBurn",
    "NotDraining",
    "WorkerSilent",
    "BeatSilent",
    "CapacityLost",
    "TaskFailing",
    "StuckOrPoison",
    "MonitorBlind",
    "BalancerDown",
)
Value = float | str | None
"""A sample: a number, "inf", or None for none."""
Series = Callable[[float], Value]
"""Minutes from the start → the value at that time."""
GB = 1 << 30


def always(value: Value) -> Series:
    return lambda minute: value


zero, one = always(0), always(1)


def since(minute: float, value: Value, *, before: Value = 0) -> Series:
    """`before`, and `value` from that minute on."""
    return lambda now: value if now >= minute else before


def between(start: float, end: float, value: Value, *, other: Value = 0) -> Series:
    """`value` in that time, and `other` before and after."""
    return lambda now: value if start <= now < end else other


def counting(a_minute: float, *, start: float = 0, at_first: float = 0) -> Series:
    """A counter that grows from that minute on."""
    return lambda now: at_first + max(0.0, now - start) * a_minute


def worker(name: str, host: str, release: str = "r1", **values: Series) -> dict[str, Series]:
    """The series of a worker. Those that are not named are of one that is well."""
    labels = f'worker="{name}-worker-1@{host}", role="{name}", host="{host}"'
    well: dict[str, Series] = {
        "up": always(1),
        "expected": always(1),
        "heard_seconds": always(2),
        "consuming": always(1),
        "draining": always(0),
        "overdue": always(0),
        "start_time_seconds": always(-86400),
        "oom_kills_total": always(0),
    }
    return {f"fleet_worker_{metric}{{{labels}}}": series for metric, series in (well | values).items()} | {
        f'fleet_worker_info{{{labels}, release="{release}", revision="a", pool="prefork"}}': always(1)
    }


def deployed(host: str, *minutes: float) -> dict[str, Series]:
    """A web worker that is deployed in these minutes: it drains for two minutes, and is away for half of one."""

    def at(first: float, last: float) -> Series:
        return lambda now: 1 if any(minute + first <= now < minute + last for minute in minutes) else 0

    away, draining, not_consuming = at(2, 2.5), at(0, 2), at(0, 2.5)
    return worker(
        "web",
        host,
        up=lambda now: 0 if away(now) else 1,
        draining=draining,
        consuming=lambda now: 0 if not_consuming(now) else 1,
        start_time_seconds=lambda now: sum(minute + 2.5 <= now for minute in minutes),
    )


def queue(name: str, **values: Series) -> dict[str, Series]:
    """The series of a queue. Those that are not named are of one that is empty, with two consumers of a least of one."""
    empty: dict[str, Series] = {
        "age_seconds": always(0),
        "age_upper_seconds": always(0),
        "consumers": always(2),
        "consumers_min": always(1),
        "slots": always(8),
        "free_slots": always(8),
        "begun_total": always(50),
    }
    waiting = {f'fleet_queue_messages{{queue="{name}", priority="0"}}': values.pop("messages", always(0))}
    return waiting | {f'fleet_queue_{metric}{{queue="{name}"}}': series for metric, series in (empty | values).items()}


def objective(name: str, seconds: float, late: Series = zero) -> dict[str, Series]:
    return {
        f'fleet_queue_objective_seconds{{queue="{name}"}}': always(seconds),
        f'fleet_queue_late_total{{queue="{name}"}}': late,
    }


def tasks(name: str, *, failed: Series = zero, succeeded: Series | None = None, host: str = "web1") -> dict[str, Series]:
    labels = f'job="celery-fleet", name="{name}", hostname="{host}", queue_name="default"'
    series = {f'celery_task_failed_total{{{labels}, exception="TimeoutError"}}': failed}
    return series | ({f"celery_task_succeeded_total{{{labels}}}": succeeded} if succeeded else {})


def broker(**values: Series) -> dict[str, Series]:
    well: dict[str, Series] = {
        "up": always(1),
        "memory_bytes": always(GB / 10),
        "memory_max_bytes": always(GB),
        "clients": always(40),
        "clients_max": always(10000),
    }
    return {f"fleet_broker_{metric}": series for metric, series in (well | values).items()}


def exporter(up: Series = one, **age: Series) -> dict[str, Series]:
    ages: dict[str, Series] = {"broker": always(1), "signs": always(3), "ages": always(1)}
    return {'up{job="celery-fleet"}': up} | {
        f'fleet_source_age_seconds{{source="{source}"}}': series for source, series in (ages | age).items()
    }


EMPTY = broker() | exporter() | {"fleet_dead_letters": always(2)}
"""A fleet without workers and queues. Two tasks have been parked for long."""
HEALTHY = (
    EMPTY
    | queue("default")
    | objective("default", 10)
    | queue("batch", consumers=always(1))
    | worker("web", "web1")
    | worker("web", "web2")
    | worker("batch", "batch1")
    | tasks("shop.mail", succeeded=counting(60))
)
BLOCKED = {
    series: always(None)
    for series in HEALTHY
    if not re.match(r"up|fleet_source|celery|.*(_total|expected|min|objective)", series)
}
"""What the exporter does not show if the broker does not answer."""

OF_REDIS = r"fleet_queue_age_seconds|fleet_broker_(?!up)|.*source=.ages"
RABBITMQ = {series: value for series, value in HEALTHY.items() if not re.match(OF_REDIS, series)}
"""What the exporter shows of a fleet on RabbitMQ: nothing of what only Redis knows."""


@dataclass(frozen=True)
class Case:
    """What is so in place of the healthy fleet, and what fires. fires: minute → all alerts that fire then, as
    (alert, its labels, its summary)."""

    name: str
    series: Mapping[str, Series]
    fires: Mapping[float, list[tuple[str, str, str]]]
    base: Mapping[str, Series] = field(default_factory=lambda: HEALTHY)
    settings: Alerts = field(default_factory=Alerts)

    def test(self) -> dict[str, Any]:
        """It as promtool takes it: at each minute, all alerts, most of which should not fire."""
        end = int(max(self.fires) * 4) + 2
        series = {**self.base, **self.series}
        return {
            "name": self.name,
            "interval": "15s",
            "input_series": [{"series": name, "values": _values(value, end)} for name, value in series.items()],
            "alert_rule_test": [
                {
                    "alertname": name,
                    "eval_time": f"{minute * 60:.0f}s",
                    "exp_alerts": [
                        {"exp_labels": dict(re.findall(r"(\w+)=(\S+)", labels)), "exp_annotations": {"summary": summary}}
                        for alert, labels, summary in fired
                        if alert == name
                    ],
                }
                for minute, fired in self.fires.items()
                for name in NAMES
            ],
        }


def _values(series: Series, end: int) -> str:
    values = [series(number / 4) for number in range(end)]
    if values.count(values[0]) == end and isinstance(values[0], int | float):
        return f"{values[0]}x{end}"
    return " ".join("_" if value is None else str(value) for value in values)


def promtool(folder: Path, case: Case) -> str:
    """What promtool says against a case; nothing, if all is as the case says."""
    rules = re.sub(r"^ +(why|next|docs): .*\n", "", alerts.rules(case.settings).decode(), flags=re.MULTILINE)
    (folder / "rules.yml").write_text(rules)
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [case.test()]}
    (folder / "test.yml").write_text(json.dumps(test))
    command = ["promtool", "test", "rules", str(folder / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


NOTHING: list[tuple[str, str, str]] = []

CASES = [
    Case("a healthy fleet", {}, {1: NOTHING, 30: NOTHING}),
    Case("no fleet at all yet", {}, {30: NOTHING}, base=EMPTY),
    Case(
        "the broker is down",
        BLOCKED | broker(up=since(5, 0, before=1), memory_bytes=always(None), clients=always(None)),
        {
            5.75: NOTHING,
            6.25: [("BrokerDown", "severity=page", "The broker does not answer. No task is accepted, and workers take none.")],
        },
    ),
    Case("the broker is briefly away", broker(up=between(5, 5.8, 0, other=1)), {5.75: NOTHING, 6.25: NOTHING, 20: NOTHING}),
    Case(
        "the broker fills",
        broker(memory_bytes=since(40, 0.82 * GB, before=0.78 * GB)),
        {
            44.75: NOTHING,
            45.5: [("BrokerNearLimit", "severity=warning limit=memory", "The broker uses 82% of its memory.")],
        },
    ),
    Case(
        "the broker is all but full",
        broker(memory_bytes=since(40, 0.96 * GB, before=0.79 * GB)),
        {
            44.75: NOTHING,
            45.5: [
                ("BrokerNearLimit", f"severity={severity} limit=memory", "The broker uses 96% of its memory.")
                for severity in ("warning", "page")
            ],
        },
    ),
    Case(
        "one of three nodes is away",
        broker(nodes=always(3), nodes_up=since(5, 2, before=3), nodes_alarmed=always(0)),
        {6.75: NOTHING, 7.25: [("BrokerDown", "severity=warning cause=node", "1 of RabbitMQ's nodes does not run.")]},
    ),
    Case(
        "a node restarts",
        broker(nodes=always(3), nodes_up=between(5, 6.5, 2, other=3), nodes_alarmed=always(0)),
        {7.25: NOTHING, 20: NOTHING},
    ),
    Case(
        "a node's disk is full",
        broker(nodes=always(3), nodes_up=always(3), nodes_alarmed=since(5, 2)),
        {
            5.75: NOTHING,
            6.25: [
                (
                    "BrokerNearLimit",
                    "severity=page limit=alarm",
                    "2 of RabbitMQ's nodes have no memory or no disk left: no task is accepted.",
                )
            ],
        },
    ),
    Case(
        "no beat leads",
        {"fleet_beat_led": since(5, 0, before=1)},
        {6.75: NOTHING, 7.25: [("BeatSilent", "severity=page", "No beat leads.")]},
    ),
    Case("another beat takes over", {"fleet_beat_led": between(5, 6, 0, other=1)}, {7.25: NOTHING, 20: NOTHING}),
    Case("a broker without a limit", broker(memory_bytes=always(GB), memory_max_bytes=always(0)), {10: NOTHING}),
    Case(
        "connections run out",
        broker(clients=since(5, 8100)),
        {
            9.75: NOTHING,
            10.25: [
                (
                    "BrokerNearLimit",
                    "severity=warning limit=connections",
                    "The broker has 81% of the connections that it accepts.",
                )
            ],
        },
    ),
    Case(
        "memory grows by a quarter in an hour",
        broker(memory_bytes=counting(GB / 240, at_first=GB / 10)),
        {
            34.5: NOTHING,
            36: [
                (
                    "BrokerNearLimit",
                    "severity=warning limit=forecast",
                    "If it grows on as in the last hour, the broker's memory is full within 4h 0m 0s: it would use 1.25GiB.",
                )
            ],
        },
    ),
    Case(
        "the monitor has just started while a peak comes in",
        broker(memory_bytes=counting(GB / 60, at_first=GB / 10)),
        {25: NOTHING},
    ),
    Case("memory grows slowly", broker(memory_bytes=counting(GB / 2400, at_first=GB / 10)), {70: NOTHING}),
    Case(
        "nobody consumes a queue in which tasks wait",
        queue("default", messages=since(5, 3), consumers=since(5, 0, before=2), consumers_min=always(0), free_slots=always(0))
        | queue("batch", messages=since(5, 7), consumers=since(5, 0, before=1), free_slots=always(0)),
        {
            6.75: NOTHING,
            7.25: [
                ("QueueUnconsumed", "severity=page queue=batch", "batch: 7 tasks wait, and no worker consumes the queue."),
                ("WorkerSilent", "severity=page queue=batch", "batch has 0 consumers, and its least is 1."),
            ],
            15.25: [
                ("QueueUnconsumed", "severity=page queue=batch", "batch: 7 tasks wait, and no worker consumes the queue."),
                ("QueueUnconsumed", "severity=warning queue=default", "default: 3 tasks wait, and no worker consumes the queue."),
                ("WorkerSilent", "severity=page queue=batch", "batch has 0 consumers, and its least is 1."),
            ],
        },
    ),
    Case(
        "nobody consumes a queue that no role names",
        {'fleet_queue_messages{queue="typo", priority="0"}': always(1), 'fleet_queue_consumers{queue="typo"}': always(0)},
        {5: [("QueueUnconsumed", "severity=page queue=typo", "typo: 1 tasks wait, and no worker consumes the queue.")]},
    ),
    Case(
        "the only worker of a queue with min_consumers 0 drains for 30 minutes",
        queue("batch", messages=always(3), consumers=between(5, 35, 0, other=1), consumers_min=always(0), free_slots=always(0))
        | worker("batch", "batch1", draining=between(5, 34, 1), consuming=between(5, 35, 0, other=1)),
        {10: NOTHING, 20: NOTHING, 34: NOTHING, 36: NOTHING},
    ),
    Case(
        "a worker consumes a queue with min_consumers 0",
        queue("batch", messages=always(3), consumers=always(1), consumers_min=always(0), begun_total=counting(10)),
        {15: NOTHING},
    ),
    Case("nobody consumes an empty queue", queue("batch", consumers=always(0), consumers_min=always(0)), {30: NOTHING}),
    Case(
        "workers with free slots begin nothing",
        queue(
            "default",
            messages=since(2, 4),
            begun_total=lambda now: min(now, 5),
            age_seconds=since(2, 9),
            age_upper_seconds=since(2, "Inf"),
        ),
        {
            11.75: NOTHING,
            12.5: [
                (
                    "QueueStalled",
                    "severity=page queue=default",
                    "default: 4 tasks wait, its workers have 8 free slots, and none has begun for 5m 0s.",
                )
            ],
        },
    ),
    Case(
        "tasks wait in a RabbitMQ, and begin",
        {
            'fleet_queue_messages{queue="default", priority="0"}': always(400),
            'fleet_queue_age_upper_seconds{queue="default"}': always("Inf"),
            'fleet_queue_begun_total{queue="default"}': counting(600),
        },
        {30: NOTHING},
        base=RABBITMQ,
    ),
    Case(
        "workers behind a RabbitMQ begin nothing",
        {
            'fleet_queue_messages{queue="default", priority="0"}': since(2, 4),
            'fleet_queue_age_upper_seconds{queue="default"}': since(2, "Inf"),
            'fleet_queue_begun_total{queue="default"}': lambda now: min(now, 5),
        },
        {
            11.75: NOTHING,
            12.5: [
                (
                    "QueueStalled",
                    "severity=page queue=default",
                    "default: 4 tasks wait, its workers have 8 free slots, and none has begun for 5m 0s.",
                )
            ],
        },
        base=RABBITMQ,
    ),
    Case(
        "a RabbitMQ is down",
        {series: always(None) for series in RABBITMQ if series in BLOCKED} | {"fleet_broker_up": since(5, 0, before=1)},
        {
            5.75: NOTHING,
            6.25: [("BrokerDown", "severity=page", "The broker does not answer. No task is accepted, and workers take none.")],
        },
        base=RABBITMQ,
    ),
    Case(
        "all that waits has its ETA in the future",
        queue("default", messages=always(4), age_upper_seconds=always(0)),
        {20: NOTHING},
    ),
    Case(
        "long tasks hold every slot",
        queue("batch", messages=always(4), age_seconds=counting(60), age_upper_seconds=counting(60), free_slots=always(0)),
        {20: NOTHING},
    ),
    Case(
        "a task comes after an idle hour, and is begun",
        queue(
            "default",
            messages=between(60, 60.5, 1),
            age_upper_seconds=between(60, 60.5, 5),
            begun_total=since(60.5, 51, before=50),
        ),
        {60.25: NOTHING, 62.5: NOTHING, 66: NOTHING},
    ),
    Case(
        "a queue is older than its objective",
        queue("default", messages=always(900), age_seconds=since(2, 12), begun_total=counting(3000), free_slots=always(0)),
        {
            6.75: NOTHING,
            7.25: [
                ("QueueTooOld", "severity=warning queue=default", "default: the oldest task waits 12s, its objective is 10s.")
            ],
        },
    ),
    Case(
        "a queue is much older than its objective",
        queue("default", messages=always(900), age_seconds=since(2, 312), begun_total=counting(3000), free_slots=always(0)),
        {
            6.75: NOTHING,
            7.5: [
                (
                    "QueueTooOld",
                    f"severity={severity} queue=default",
                    "default: the oldest task waits 5m 12s, its objective is 10s.",
                )
                for severity in ("warning", "page")
            ],
        },
    ),
    Case("a queue is old, and nobody set an objective", queue("batch", age_seconds=always(90000)), {20: NOTHING}),
    Case("a queue is old for four minutes", queue("default", age_seconds=between(2, 6, 30)), {5.75: NOTHING, 8: NOTHING}),
    Case(
        "a fifth of a busy queue's tasks is late",
        queue("default", begun_total=counting(60)) | objective("default", 10, late=counting(12)),
        {
            65: [
                (
                    "WaitBudgetBurn",
                    "severity=page queue=default",
                    "default: 20% of the tasks of the last 1h began later than the objective, and 1% may.",
                ),
                (
                    "WaitBudgetBurn",
                    "severity=warning queue=default",
                    "default: 20% of the tasks of the last 6h began later than the objective, and 1% may.",
                ),
            ]
        },
    ),
    Case(
        "a tenth of a busy queue's tasks is late, for hours",
        queue("default", begun_total=counting(60)) | objective("default", 10, late=counting(6)),
        {
            65: [
                (
                    "WaitBudgetBurn",
                    "severity=warning queue=default",
                    "default: 10% of the tasks of the last 6h began later than the objective, and 1% may.",
                ),
            ]
        },
    ),
    Case(
        "tasks were late, and are not any more",
        queue("default", begun_total=counting(60)) | objective("default", 10, late=lambda now: min(now, 60) * 30),
        {
            67: [
                (
                    "WaitBudgetBurn",
                    "severity=warning queue=default",
                    "default: 44.78% of the tasks of the last 6h began later than the objective, and 1% may.",
                ),
            ],
            95: NOTHING,
        },
    ),
    Case(
        "half of the few tasks of a quiet queue are late",
        queue("default", begun_total=counting(1)) | objective("default", 10, late=counting(0.5)),
        {65: NOTHING},
    ),
    Case(
        "a rollout makes some tasks late",
        queue("default", begun_total=counting(60)) | objective("default", 10, late=lambda now: 40 if now > 70 else 0),
        {71: NOTHING, 75: NOTHING, 100: NOTHING},
    ),
    Case(
        "a queue grows, and its slots are busy",
        queue("batch", messages=counting(20, at_first=4000), begun_total=counting(30), free_slots=always(0), consumers=always(1)),
        {
            14: NOTHING,
            17: [
                (
                    "NotDraining",
                    "severity=warning queue=batch",
                    "batch grows, its slots are busy, and what waits is work for 2h 24m 40s.",
                )
            ],
        },
    ),
    Case(
        "a queue grows, and nearly all its slots are busy",
        queue("batch", messages=counting(20, at_first=4000), begun_total=counting(30), slots=always(20), free_slots=always(1)),
        {
            17: [
                (
                    "NotDraining",
                    "severity=warning queue=batch",
                    "batch grows, its slots are busy, and what waits is work for 2h 24m 40s.",
                )
            ],
        },
    ),
    Case(
        "a queue grows, its slots are busy, and none of its long tasks ends",
        queue("batch", messages=counting(20, at_first=4000), free_slots=always(0), consumers=always(1)),
        {
            17: [
                (
                    "NotDraining",
                    "severity=warning queue=batch",
                    "batch grows, its slots are busy, and none of its tasks has begun for 15m.",
                )
            ],
        },
    ),
    Case(
        "a long queue shrinks",
        queue("batch", messages=lambda now: 9000 - now, begun_total=counting(30), free_slots=always(0)),
        {30: NOTHING},
    ),
    Case(
        "a short queue grows",
        queue("batch", messages=counting(1), begun_total=counting(30), free_slots=always(0)),
        {40: NOTHING},
    ),
    Case(
        "a queue grows, and slots are free",
        queue("batch", messages=counting(20, at_first=4000), begun_total=counting(30), free_slots=always(2)),
        {30: NOTHING},
    ),
    Case(
        "a worker is silent",
        worker("web", "web1", up=since(5, 0, before=1), heard_seconds=counting(60, start=5))
        | worker("batch", "batch2", up=always(0), heard_seconds=always(None)),
        {
            6.75: [
                (
                    "WorkerSilent",
                    "severity=warning worker=batch-worker-1@batch2 role=batch host=batch2",
                    "batch-worker-1@batch2 should run, and was never heard of.",
                )
            ],
            7.25: [
                (
                    "WorkerSilent",
                    "severity=warning worker=web-worker-1@web1 role=web host=web1",
                    "web-worker-1@web1 should run, and nobody has heard of it for 2m 15s.",
                ),
                (
                    "WorkerSilent",
                    "severity=warning worker=batch-worker-1@batch2 role=batch host=batch2",
                    "batch-worker-1@batch2 should run, and was never heard of.",
                ),
            ],
        },
    ),
    Case(
        "a worker that nobody expects is silent",
        worker("web", "web9", up=always(0), expected=always(0), consuming=always(0)),
        {10: NOTHING},
    ),
    Case(
        "a queue has fewer consumers than it should",
        queue("default", consumers=since(5, 1, before=3), consumers_min=always(2)),
        {6.75: NOTHING, 7.25: [("WorkerSilent", "severity=page queue=default", "default has 1 consumers, and its least is 2.")]},
    ),
    Case(
        "a worker starts again and again",
        worker("web", "web1", start_time_seconds=lambda now: min(now // 3, 3)),
        {
            8.75: NOTHING,
            9.25: [
                (
                    "CapacityLost",
                    "severity=warning cause=restarts worker=web-worker-1@web1 role=web host=web1",
                    "web-worker-1@web1 has started 3 times within 15 minutes, beside deploys.",
                )
            ],
        },
    ),
    Case(
        "two clean deploys within 15 minutes",
        deployed("web1", 3, 11)
        | deployed("web2", 6, 14)
        | queue(
            "default",
            messages=always(5),
            age_seconds=always(4),
            age_upper_seconds=always(5),
            consumers=lambda now: 1 if any(at <= now < at + 2.5 for at in (3, 6, 11, 14)) else 2,
            free_slots=always(2),
            begun_total=counting(100),
        ),
        dict.fromkeys((3, 5.25, 6, 8.25, 10, 13.25, 16.25, 17, 20), NOTHING),
    ),
    Case(
        "a deploy, a release that is put back, and another deploy within 15 minutes",
        deployed("web1", 2, 5, 8, 11)
        | {
            f'fleet_worker_info{{worker="web-worker-1@web1", role="web", host="web1", release="{release}"}}': between(
                first, last, 1, other=None
            )
            for release, first, last in (("r2", 4.5, 7.5), ("r3", 7.5, 10.5), ("r4", 13.5, 99))
        },
        dict.fromkeys((5, 9, 11, 14, 15.5, 18), NOTHING),
    ),
    Case(
        "a worker drains for an hour while others consume its queue",
        worker("web", "web1", draining=between(5, 65, 1), consuming=between(5, 65, 0, other=1))
        | queue("default", consumers=between(5, 65, 1, other=2)),
        {10: NOTHING, 64: NOTHING, 66: NOTHING},
    ),
    Case(
        "a process was killed for memory",
        worker("web", "web1", oom_kills_total=since(5, 3, before=2)),
        {
            4.75: NOTHING,
            5.25: [
                (
                    "CapacityLost",
                    "severity=warning cause=memory worker=web-worker-1@web1 role=web host=web1",
                    "web-worker-1@web1: a process was killed for memory within the last 15 minutes.",
                )
            ],
            21: NOTHING,
        },
    ),
    Case(
        "the exporter was restarted, and shows kills of yesterday",
        worker("web", "web1", oom_kills_total=between(5, 6, None, other=7), start_time_seconds=between(5, 6, None, other=70)),
        {6: NOTHING, 10: NOTHING},
    ),
    Case(
        "a device is away",
        worker("gpu", "gpu1", device_available=since(5, 0, before=1), consuming=since(5, 0, before=1)),
        {
            4.75: NOTHING,
            5: [
                (
                    "CapacityLost",
                    "severity=warning cause=device worker=gpu-worker-1@gpu1 role=gpu host=gpu1",
                    "gpu-worker-1@gpu1: its device is away.",
                )
            ],
            10: [
                (
                    "CapacityLost",
                    "severity=warning cause=device worker=gpu-worker-1@gpu1 role=gpu host=gpu1",
                    "gpu-worker-1@gpu1: its device is away.",
                )
            ],
        },
    ),
    Case(
        "a worker runs and consumes nothing",
        worker("web", "web1", consuming=since(5, 0, before=1)),
        {
            6.75: NOTHING,
            7.25: [
                (
                    "CapacityLost",
                    "severity=warning cause=ghost worker=web-worker-1@web1 role=web host=web1",
                    "web-worker-1@web1 runs, and consumes no queue.",
                )
            ],
        },
    ),
    Case(
        "a tenth of a task's runs fail",
        tasks("shop.pay", failed=counting(1), succeeded=counting(9), host="web3") | worker("web", "web3", release="r2"),
        {
            6: NOTHING,
            9: [
                (
                    "TaskFailing",
                    "severity=warning name=shop.pay",
                    "shop.pay: 10% of its runs failed within 10 minutes, with TimeoutError, on release r2.",
                )
            ],
        },
    ),
    Case(
        "all runs of a task fail, on a host that is not named",
        tasks("shop.pay", failed=counting(10), host="generic"),
        {
            15: [
                (
                    "TaskFailing",
                    "severity=warning name=shop.pay",
                    "shop.pay: 100% of its runs failed within 10 minutes, with TimeoutError, on release r1.",
                )
            ]
        },
    ),
    Case("one in thirty runs fails", tasks("shop.pay", failed=counting(1), succeeded=counting(29)), {20: NOTHING}),
    Case("a rare task fails", tasks("shop.pay", failed=counting(1)), {20: NOTHING}),
    Case(
        "the exporter was restarted, and shows failures of yesterday",
        tasks("shop.pay", failed=since(5, 5000, before=None), succeeded=since(5, 5000, before=None)),
        {6: NOTHING, 20: NOTHING},
    ),
    Case(
        "a poisonous task was parked",
        {"fleet_dead_letters": since(5, 3, before=2)},
        {
            5.75: NOTHING,
            6.25: [("StuckOrPoison", "severity=warning cause=dead-letters", "1 more tasks are parked than an hour ago.")],
        },
    ),
    Case("parked tasks are dropped, and requeued", {"fleet_dead_letters": since(5, 0, before=2)}, {10: NOTHING}),
    Case(
        "in a rollout, old workers park tasks of the new release",
        {"fleet_dead_letters": between(5, 9, 40, other=2)}
        | worker("web", "web1", start_time_seconds=always(100))
        | {'fleet_worker_info{worker="web-worker-1@web2", role="web", host="web2", release="r2"}': between(2, 9, 1, other=None)},
        {6.5: NOTHING, 8.75: NOTHING, 12: NOTHING},
    ),
    Case(
        "a machine was left on an old release for long, and a task is parked",
        {"fleet_dead_letters": since(5, 3, before=2)} | worker("web", "web3", release="r0"),
        {6.25: [("StuckOrPoison", "severity=warning cause=dead-letters", "1 more tasks are parked than an hour ago.")]},
    ),
    Case(
        "a task runs for longer than its limit",
        worker("web", "web1", overdue=since(5, 2)),
        {
            5.75: NOTHING,
            6.25: [
                (
                    "StuckOrPoison",
                    "severity=warning cause=overdue worker=web-worker-1@web1 role=web host=web1",
                    "web-worker-1@web1: 2 tasks run for longer than their time limit.",
                )
            ],
        },
    ),
    Case(
        "the exporter is down",
        exporter(up=since(5, 0, before=1)),
        {6.75: NOTHING, 7.25: [("MonitorBlind", "severity=page cause=exporter", "The fleet's exporter does not answer.")]},
    ),
    Case(
        "the exporter is not there",
        {},
        {3: [("MonitorBlind", "severity=page cause=exporter", "The fleet's exporter does not answer.")]},
        base={'up{job="node"}': always(1)},
    ),
    Case(
        "the balancer has died",
        {'up{job="fleet-balance"}': since(5, 0, before=1)},
        {
            6.75: NOTHING,
            7.25: [("BalancerDown", "severity=warning job=fleet-balance", "The balancer does not look at the fleet.")],
        },
    ),
    Case(
        "the balancer hangs",
        {'up{job="fleet-balance"}': one, "fleet_balance_last_look_timestamp_seconds": lambda minute: 60 * min(minute, 5)},
        {8: NOTHING, 10: [("BalancerDown", "severity=warning", "The balancer does not look at the fleet.")]},
    ),
    Case("the exporter restarts", exporter(up=between(5, 5.5, 0, other=1)), {6: NOTHING, 8: NOTHING}),
    Case(
        "nobody says how long a queue waits that workers consume",
        exporter(ages=always("Inf"))
        | queue("default", messages=always(3), age_upper_seconds=always("Inf"), free_slots=always(0)),
        {3: [("MonitorBlind", "severity=page cause=source source=ages", "What the monitor shows of ages was never heard.")]},
    ),
    Case(
        "nobody says how long a queue waits that nobody consumes",
        exporter(ages=always("Inf")) | queue("batch", messages=always(3), consumers=always(0), consumers_min=always(0)),
        {5: NOTHING},
    ),
    Case(
        "the signs of workers are old",
        exporter(signs=counting(60, start=5)),
        {
            7.75: NOTHING,
            8.5: [
                (
                    "MonitorBlind",
                    "severity=page cause=source source=signs",
                    "What the monitor shows of signs is 3m 30s old.",
                )
            ],
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_alerts_that_fire(case: Case, tmp_path: Path) -> None:
    assert not promtool(tmp_path, case)


WARNING = "severity=warning"
MOVED: dict[str, tuple[Any, str, float, str]] = {
    "broker_used": (90, "the broker fills", 45.5, ""),
    "broker_full": (97, "the broker is all but full", 45.5, WARNING),
    "broker_full_within": (7200, "memory grows by a quarter in an hour", 36, ""),
    "queue_unconsumed_for": (600, "nobody consumes a queue that no role names", 5, ""),
    "queue_stalled_for": (1200, "workers with free slots begin nothing", 12.5, ""),
    "queue_old_for": (900, "a queue is older than its objective", 7.25, ""),
    "queue_old_page": (40, "a queue is much older than its objective", 7.5, WARNING),
    "late_budget": (5, "a fifth of a busy queue's tasks is late", 65, ""),
    "slots_busy": (99, "a queue grows, and nearly all its slots are busy", 17, ""),
    "drain_horizon": (20000, "a queue grows, and its slots are busy", 17, ""),
    "not_draining_for": (1800, "a queue grows, and its slots are busy", 17, ""),
    "worker_silent_for": (900, "a queue has fewer consumers than it should", 7.25, ""),
    "restarts": (5, "a worker starts again and again", 9.25, ""),
    "failing": (20, "a tenth of a task's runs fail", 9, ""),
    "failing_runs": (200, "a tenth of a task's runs fail", 9, ""),
    "blind_after": (600, "the signs of workers are old", 8.5, ""),
}
"""Setting → (another value, a case, the minute at which alerts fire in it, the labels of those that fire with that value too)."""


@pytest.mark.parametrize("setting", Alerts.model_fields)
def test_a_setting_moves_its_alert(setting: str, tmp_path: Path) -> None:
    value, name, minute, left = MOVED[setting]
    case = next(case for case in CASES if case.name == name)
    fires = [alert for alert in case.fires[minute] if left and alert[1].startswith(left)]
    assert len(fires) < len(case.fires[minute])
    moved = replace(case, settings=Alerts(**{setting: value}), fires={minute: fires})
    assert not promtool(tmp_path, moved)


def test_rules_and_what_they_say(tmp_path: Path) -> None:
    """Prometheus takes the rules, and each says what to run next, and where to read on."""
    (tmp_path / "rules.yml").write_bytes(alerts.rules(Alerts()))
    done = subprocess.run(["promtool", "check", "rules", "--lint-fatal", str(tmp_path / "rules.yml")], check=False)
    assert done.returncode == 0
    headings = re.findall(r"^### (\w+)$", (DOCS / "firefighting.md").read_text(), re.MULTILINE)
    assert [heading for heading in headings if heading in NAMES] == list(NAMES)
    text = alerts.rules(Alerts()).decode()
    rules = text.split("- alert: ")[1:]
    assert list(dict.fromkeys(rule.split()[0] for rule in rules)) == list(NAMES)
    for rule in rules:
        alert = rule.split()[0]
        anchor = re.findall(r"docs: docs/firefighting.md#(\w+)", rule)
        assert anchor == [alert.lower()] or "annotations: *" in rule


@pytest.mark.parametrize("webhook", [None, 'http://127.0.0.1:9000/a?b="c"#d'])
def test_alertmanager_takes_its_configuration(webhook: str | None, tmp_path: Path) -> None:
    (tmp_path / "alertmanager.yml").write_bytes(alerts.alertmanager(webhook))
    done = subprocess.run(["amtool", "check-config", str(tmp_path / "alertmanager.yml")], check=False)
    assert done.returncode == 0


def test_the_table_of_alerts_is_not_stale() -> None:
    """docs/monitoring.md lists every rule, with the severity, the time and the settings that it has."""
    documented = [
        (*cells[:2], cells[3], re.findall(r"`(\w+)`", cells[4]))
        for line in (DOCS / "monitoring.md").read_text().splitlines()
        if (cells := [cell.strip() for cell in line.strip("|").split("|")])[0] in NAMES
    ]
    template = (TEMPLATES / "etc/prometheus/fleet-rules.yml.j2").read_text()
    texts = alerts.rules(Alerts()).decode().split("- alert: ")[1:]
    found = []
    for text, source in zip(texts, _unrolled(template).split("- alert: ")[1:], strict=True):
        conditions = source.split("annotations:")[0]
        severity = re.findall(r"severity: (\w+)", text)[0]
        lasts = re.findall(r"^ +for: (\w+)", text, re.MULTILINE)
        found.append((text.split()[0], severity, *(lasts or [""]), list(dict.fromkeys(re.findall(r"alerts\.(\w+)", conditions)))))
    assert documented == found
    assert {setting for *_, settings in documented for setting in settings} == set(Alerts.model_fields)


def _unrolled(template: str) -> str:
    """A template with what its loop repeats, twice."""
    return re.sub(r"\{% for .*?%\}(.*?)\{% endfor %\}", r"\1\1", template, flags=re.DOTALL)
