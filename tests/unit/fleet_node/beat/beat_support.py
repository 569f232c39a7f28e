"""Beat processes of one app, with a Redis, and what they have sent."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any

from redis import Redis, RedisError

from fleet_node.protocol import BEAT_LOCK, BEAT_RUN, BEAT_RUNS
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import ROOT
from tests.unit.shop_support import answering, free_port, redis_server, redis_url

TAKEOVER = 2
APP = """
from celery import Celery
from celery.schedules import crontab
app = Celery("jobs")
app.conf.beat_schedule = {
    "often": {"task": "jobs.often", "schedule": 0.2},
    "second": {"task": "jobs.second", "schedule": 1.0, "options": {"priority": 6}},
    "broken": {"task": "jobs.broken", "schedule": 1.0, "args": (object(),)},
    "yearly": {"task": "jobs.yearly", "schedule": crontab(minute=0, hour=0, day_of_month=1, month_of_year=1)},
}
"""


@dataclass
class Beats:
    """Beat processes, by name, and a Redis that keeps what it is told."""

    folder: Path
    port: int
    broker: str = ""  # in place of Redis
    python: str = sys.executable
    more: dict[str, str] = field(default_factory=dict)  # environment
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_redis(self) -> None:
        """Start it, or start it again."""
        command = redis_server(self.port, self.folder, "--appendonly", "yes", "--appendfsync", "always")
        with (self.folder / "redis.log").open("ab") as log:
            self.processes["redis"] = subprocess.Popen(command, stdout=log, stderr=log)
        answering(self.port)

    def end_redis(self) -> None:
        """Kill it."""
        redis = self.processes.pop("redis")
        redis.kill()
        redis.wait()

    @property
    def environment(self) -> dict[str, str]:
        """Of beat."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "FLEET_"))}
        return clean | {
            "CELERY_BROKER_URL": self.broker or redis_url(self.port),
            "CELERY_RESULT_BACKEND": redis_url(self.port, 1),
            "PYTHONPATH": f"{self.folder}:{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.more,
        }

    def start(self, name: str, *options: str) -> None:
        """Start a beat, and wait until it leads or is a standby."""
        command = [self.python, "-m", "fleet_node.beat", "jobs", "--node", f"beat@{name}", "--takeover", str(TAKEOVER)]
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*command, *options], env=self.environment, cwd=self.folder, stdout=log, stderr=log
            )
        assert until(lambda: "beat: leads" in self.output(name) or "beat: standby" in self.output(name)), self.output(name)

    @contextmanager
    def systemd(self) -> Iterator[Callable[[], list[str]]]:
        """What beats that are started from now on tell systemd."""
        messages: list[str] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.bind(str(self.folder / "notify"))
            channel.setblocking(False)
            self.more["NOTIFY_SOCKET"] = str(self.folder / "notify")

            def told() -> list[str]:
                with suppress(BlockingIOError):
                    while True:
                        messages.append(channel.recv(1000).decode())
                return messages

            yield told

    def log(self, name: str) -> Path:
        """What a beat writes."""
        return self.folder / f"{name}.log"

    def output(self, name: str) -> str:
        """What it has written."""
        return self.log(name).read_text()

    def send(self, name: str, number: Signals) -> None:
        """Send a signal to a process."""
        self.processes[name].send_signal(number)

    def end(self, name: str, number: Signals = SIGKILL) -> None:
        """End a process, and forget what it has written."""
        self.send(name, number)
        self.processes.pop(name).wait(20)
        self.log(name).rename(self.folder / f"{name}.{os.urandom(3).hex()}.old")

    def redis(self) -> Redis:
        """A client."""
        return Redis(port=self.port, decode_responses=True)

    def leader(self) -> str:
        """The name of the beat that leads; empty if none does, or Redis is away."""
        try:
            with self.redis() as redis:
                return (redis.get(BEAT_LOCK) or "").partition("|")[0].removeprefix("beat@")
        except RedisError:
            return ""

    def runs(self, entry: str) -> list[dict[str, Any]]:
        """The runs of an entry in the order in which they were sent, as their messages have them."""
        return self.runs_and_written(entry)[0]

    def runs_and_written(self, entry: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The runs of an entry as they were sent, and its last run as it is written down at the same moment."""
        with self.redis() as redis:
            lists = [key for key in redis.keys("celery*") if redis.type(key) == "list"]
            with redis.pipeline(transaction=True) as together:
                for name in lists:
                    together.lrange(name, 0, -1)
                *found, written = together.hget(BEAT_RUNS, entry).execute()
        runs = (json.loads(text)["headers"][BEAT_RUN] for texts in found for text in reversed(texts))
        return [run for run in runs if run["entry"] == entry], json.loads(written or "{}")

    def written(self, entry: str) -> dict[str, Any]:
        """The last run of an entry as it is written down."""
        return self.runs_and_written(entry)[1]

    def goes_on(self, entry: str = "often", more: int = 3) -> bool:
        """Wait until some more runs of an entry were sent. Returns whether they were."""
        before = len(self.runs(entry))
        return until(lambda: len(self.runs(entry)) >= before + more)

    def problems(self, entry: str) -> list[str]:
        """What is wrong with the runs that were sent: each begins where the one before it ends, and each is counted once."""
        runs, written = self.runs_and_written(entry)
        lines = [
            f"{entry}: run {late['total_run_count']} follows {late['after']}, and before it was {early['last_run_at']}"
            for early, late in pairwise(runs)
            if late["after"] != early["last_run_at"]
        ]
        counts = [run["total_run_count"] for run in runs]
        if counts != list(range(1, len(runs) + 1)):
            lines.append(f"{entry}: counted {counts}")
        if runs and written["total_run_count"] != len(runs):
            lines.append(f"{entry}: {len(runs)} were sent, and {written} is written down")
        return lines


@contextmanager
def beats(folder: Path, app: str = APP) -> Iterator[Beats]:
    """No beat yet, and a Redis."""
    (folder / "jobs.py").write_text(app)
    here = Beats(folder, free_port())
    try:
        here.start_redis()
        yield here
    finally:
        for process in here.processes.values():
            process.kill()
            process.wait()
