"""A made-up fleet: its last hours as a timeline, and as a recording."""

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleet.observe.report.recording import Header
from fleet.observe.report.timeline import Failure, Mark, QueueSeries, RoleSeries, Timeline, Values, WorkerSeries, grid

BEGIN = 1_780_000_200.0
MB = 1 << 20
HOSTILE = (
    "</script><script>fetch('http://127.0.0.1:9/')</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE",
    "{{ 7 * 7 }}",
    "a" * 500,
    "\u202egnp.exe",
    "nul\x00bell\x07",
    "half \ud83d",
    "</svg></style><b>",
    "日本語 очередь",
)
MARKS = (
    Mark(BEGIN + 4000, BEGIN + 4170, "rollout", "deploy.py by ops@ops1: done, release fb1083b822ae"),
    Mark(BEGIN + 9000, BEGIN + 9700, "fault", "web-worker-1@web2 gave no sign of life"),
    Mark(BEGIN + 9120, BEGIN + 10300, "alert", "alert QueueTooOld (queue default)"),
    Mark(BEGIN + 9130, None, "fault", "batch-worker-1@batch1 had a process killed for memory"),
    Mark(BEGIN + 15000, BEGIN + 15240, "fault", "the broker was away: Connection refused"),
    Mark(BEGIN + 18000, BEGIN + 18090, "rollout", "deploy.py by ops@ops1: failed, release 0c3a", failed=True),
)


def made_up(queues: int = 5, workers: int = 9, hours: float = 6, names: tuple[str, ...] = ()) -> Timeline:
    """Some hours with a wave of load, a queue that comes above its objective, and a gap. names: of the first queues."""
    chance = random.Random(7)
    points = grid(BEGIN, BEGIN + hours * 3600, 15)
    gap = range(int(points.number * 0.69), int(points.number * 0.71) + 1)

    def values(value: Any) -> Values:
        return tuple(None if index in gap else max(0.0, value(index)) for index in range(points.number))

    def wave(index: int, shift: float = 0) -> float:
        return math.sin(index / points.number * 7 + shift)

    known = ("default", "reports", "mail", "thumbnails", "ml")
    labels = [*names, *known, *(f"queue-{number:02}" for number in range(queues))][:queues]
    series = {}
    for place, name in enumerate(labels):
        rise = place in (0, 3)
        age = values(
            lambda i, rise=rise, place=place: (
                chance.random() * 3
                + (90 * math.exp(-(((i / points.number - 0.44) * 22) ** 2)) if rise else 0)
                + (200 + 150 * wave(i) if place == 1 else 0)
            )
        )
        rate = 40 / (place + 1)
        begun = values(lambda i, rate=rate, place=place: rate * (1.2 + wave(i, place)) + chance.random() * rate / 4)
        incoming = values(lambda i, rate=rate, place=place: rate * (1.2 + wave(i + 3, place)) + chance.random() * rate / 3)
        failed = values(lambda i, rate=rate: rate / 20 * (chance.random() > 0.6))
        waiting = values(lambda i, age=age, rate=rate: round((age[i] or 0) * rate))
        series[name] = QueueSeries(age, waiting, incoming, begun, failed)
    roles = {
        role: RoleSeries(
            values(lambda i, slots=slots, shift=shift: slots * min(1, 0.55 + 0.4 * wave(i, shift) + chance.random() / 10)),
            values(lambda i, slots=slots: slots),
        )
        for shift, (role, slots) in enumerate({"web": 64, "batch": 8, "gpu": 2}.items())
    }
    machines = {}
    for number in range(workers):
        role, cap = (("web", 780 * MB), ("batch", 1536 * MB), ("gpu", 8192 * MB))[number % 3]
        machines[f"{role}-worker-1@{role}{number // 3 + 1}"] = WorkerSeries(
            role,
            values(lambda i, cap=cap, number=number: cap * min(1, (0.35 + 0.06 * (number % 9)) + 0.2 * (i % 97) / 97)),
            values(lambda i, cap=cap: cap),
        )
    return Timeline(
        source="Prometheus",
        grid=points,
        known=values(lambda i: 1.0),
        queues=series,
        roles=roles,
        workers=machines,
        marks=MARKS,
        failures=(
            Failure("shop.tasks.orders.place_order", "ConnectionError", 812),
            Failure(names[0] if names else "shop.tasks.prices.fetch_price", "Timeout", 44),
        ),
        away_s=240.0,
        objectives={
            **dict.fromkeys(labels[:1], 10.0),
            **({"reports": 600.0, "mail": 60.0, "thumbnails": 30.0} if not names else {}),
        },
    )


def lines(samples: int, queues: int = 2, workers: int = 2, interval: float = 10, silent: range = range(0)) -> Iterator[str]:
    """A recording. silent: samples in which the first worker is."""
    yield Header("b 127.0.0.1:6379 shop.app", interval, 60).line() + "\n"
    nodes = [f"web-worker-{number}@web1" for number in range(workers)]
    for number in range(samples):
        entry: dict[str, Any] = {
            "t": BEGIN + number * interval,
            "q": {f"queue-{place}": [12, 3.2, 4.1, 3, 2, 0, 0, 2, 8.4, 8.1, 0] for place in range(queues)},
            "w": {node: [3, 4, int(BEGIN)] for node in nodes},
        }
        if number in silent:
            entry["w"][nodes[0]] = None
        if number % 6 == 0:
            entry["m"] = {node: [500 * MB, 780 * MB, 0] for node in nodes}
        yield json.dumps(entry, separators=(",", ":")) + "\n"


def write(path: Path, text: Iterator[str]) -> Path:
    path.write_text("".join(text))
    return path
