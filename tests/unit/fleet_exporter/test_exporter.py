"""The exporter as it runs on the monitor's machine: against a real Redis and real workers, with the monitor's own user."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleet_node.protocol import PARKED
from tests.unit.fleet_node.beat.beat_support import APP as BEAT_APP
from tests.unit.fleet_node.beat.beat_support import Beats
from tests.unit.fleet_node.delivery.lease_support import begun, kill, leased, send, until
from tests.unit.process_support import ROOT, Machine
from tests.unit.shop_support import free_port

pytestmark = pytest.mark.long
DEBIAN = "/usr/bin/python3"
"""With the distribution's own packages, as on the monitor's machine."""
ACL = (ROOT / "templates/etc/redis/users.acl.j2").read_text()
APP = """
@app.task(name="good")
def good(): pass

@app.task(name="bad")
def bad(): raise ValueError("a secret")
"""
ONE = {"worker": "web-worker-1@test", "role": "web", "host": "web1"}
TWO = {"worker": "web-worker-2@test", "role": "web", "host": "web2"}


class Metrics:
    """What a scrape said."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.text = text
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples
        }
        self.names = {name for name, _ in self.samples}

    def value(self, metric: str, **labels: str) -> float | None:
        return self.samples.get((metric, tuple(sorted(labels.items()))))


class Exporter:
    """One that runs."""

    def __init__(self, here: Machine, folder: Path, python: str = DEBIAN, **more: Any) -> None:
        self.python = python
        self.folder, self.port, self.password = folder, free_port(), secrets.token_hex(8)
        with here.redis() as redis:
            rules = re.search(r"^user monitor .*?(~.*)$", ACL, re.M)
            assert rules
            redis.execute_command("ACL", "SETUSER", "monitor", "reset", "on", f">{self.password}", *rules[1].split())
        folder.mkdir(exist_ok=True)
        (folder / "broker-url").write_text(f"redis://monitor:{self.password}@127.0.0.1:{here.port}/0\n")
        workers = [{"nodes": [worker["worker"]], "role": "web", "host": worker["host"]} for worker in (ONE, TWO)]
        queue = {"consumers": 2, "minimum": 1, "objective": 10, "roles": ["web"]}
        content: dict[str, Any] = {"lease": 4}
        content |= {"port": self.port, "workers": workers, "queues": {"default": queue}, **more}
        (folder / "fleet.json").write_text(json.dumps(content))

    @contextmanager
    def running(self, environment: Mapping[str, str] | None = None) -> Iterator[None]:
        own = {"CREDENTIALS_DIRECTORY": str(self.folder), "STATE_DIRECTORY": str(self.folder), **(environment or {})}
        command = [self.python, "-m", "fleet_exporter", str(self.folder / "fleet.json")]
        with (
            (self.folder / "log").open("ab") as log,
            subprocess.Popen(command, env=os.environ | own, cwd=ROOT, stderr=log) as started,
        ):
            try:
                assert until(self.answers)
                yield
            finally:
                started.send_signal(signal.SIGTERM)
                assert started.wait(10) == 0

    def answers(self) -> bool:
        try:
            return bool(self.scrape())
        except OSError:
            return False

    def scrape(self) -> Metrics:
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return Metrics(answer.read().decode())


def test_a_fleet_from_its_first_task_to_its_last_worker(tmp_path: Path) -> None:
    with leased(tmp_path, lease=4) as here, here.client() as client:
        exporter = Exporter(here, tmp_path / "exporter")
        with exporter.running():
            first = exporter.scrape()
            assert (first.value("fleet_worker_up", **ONE), first.value("fleet_worker_up", **TWO)) == (0, 0)
            assert first.value("fleet_queue_consumers_min", queue="default") == 1
            release = here.release("r", APP)
            here.start(release)
            assert until(lambda: exporter.scrape().value("fleet_queue_consumers", queue="default") == 1)
            there = exporter.scrape()
            assert (there.value("fleet_worker_up", **ONE), there.value("fleet_worker_up", **TWO)) == (1, 0)
            assert there.value("fleet_worker_consuming", **ONE) == 1
            assert there.value("fleet_worker_slots", **ONE) == there.value("fleet_queue_free_slots", queue="default") == 4
            assert there.value("celery_worker_up", hostname="test") == 1
            assert there.value("fleet_worker_info", **ONE, release="r", revision="v1", pool="thread") == 1

            for name in ("good", "good", "bad"):
                client.send_task(name, queue="default")
            task = {"name": "good", "hostname": "test", "queue_name": "default"}
            failure = {"name": "bad", "hostname": "test", "queue_name": "default", "exception": "ValueError"}
            values = []
            assert until(
                lambda: (
                    values.append((now := exporter.scrape()).value("celery_task_succeeded_total", **task))  # type: ignore[func-returns-value]
                    or now.value("celery_task_failed_total", **failure) == 1
                ),
                30,
            )
            assert until(lambda: exporter.scrape().value("celery_task_succeeded_total", **task) == 2)
            assert 0.0 in values, "the series began at zero"
            after = exporter.scrape()
            assert after.value("celery_task_runtime_count", **task) == 2
            assert after.value("celery_task_queue_wait_time_count", **task) == 2
            assert after.value("fleet_queue_begun_total", queue="default") == 3
            assert after.value("fleet_queue_late_total", queue="default") == 0
            assert "a secret" not in after.text

            for number in range(4):
                send(client, number, 14)
            for number in range(4, 9):
                send(client, number, 0, priority=9)
            assert until(lambda: exporter.scrape().value("fleet_queue_messages", queue="default", priority="9") in (4, 5), 10)
            assert until(lambda: exporter.scrape().value("fleet_queue_in_flight", queue="default", state="running") == 4, 15)
            busy = exporter.scrape()
            waiting = busy.value("celery_queue_length", queue_name="default")
            prefetched = busy.value("fleet_queue_in_flight", queue="default", state="prefetched")
            assert waiting is not None
            assert prefetched is not None
            assert waiting + prefetched == 5, "all priorities"
            assert busy.value("fleet_queue_free_slots", queue="default") == 0
            assert busy.value("fleet_role_tasks", role="web") == 4 + 5, "what runs, is prefetched and waits"
            assert busy.value("fleet_role_slots", role="web") == 4
            assert until(lambda: (exporter.scrape().value("fleet_queue_age_seconds", queue="default") or 0) > 1)
            now = exporter.scrape()
            age, most = (now.value(f"fleet_queue_age{name}_seconds", queue="default") for name in ("", "_upper"))
            assert age is not None
            assert now.value("fleet_role_age_ratio", role="web") == pytest.approx(age / 10)
            assert most is not None
            assert age <= most <= age + 2

            started = here.redis().hlen("fleet.signs")
            assert started == 1
            kill(here)
            assert until(lambda: exporter.scrape().value("fleet_worker_up", **ONE) == 0, 15)
            assert exporter.scrape().value("fleet_queue_in_flight", queue="default", state="orphaned") == 4 + prefetched
            assert exporter.scrape().value("fleet_queue_consumers", queue="default") == 0
            assert exporter.scrape().value("fleet_role_tasks", role="web") == 4 + 5, "a dead worker's are to be done still"
            here.start(release)
            assert until(lambda: exporter.scrape().value("celery_queue_length", queue_name="default") == 0, 60)
            assert until(lambda: (exporter.scrape().value("fleet_queue_begun_total", queue="default") or 0) >= 12, 20)
            with here.redis() as redis:
                redis.hset(PARKED, "x", "{}")
            assert exporter.scrape().value("fleet_dead_letters") == 1
            here.stop(["celery-web@1.service"])
            last = exporter.scrape().value("fleet_queue_begun_total", queue="default")
            assert exporter.scrape().value("fleet_worker_up", **ONE) == 0
        with exporter.running():
            assert exporter.scrape().value("fleet_queue_begun_total", queue="default") == last, "a restart loses nothing"


@pytest.mark.parametrize("python", [DEBIAN, sys.executable])
def test_a_scrape_asks_little_and_only_reads(tmp_path: Path, python: str) -> None:
    """Counted by Redis: at most 20 commands, and two a queue, with four priorities each."""
    queues = [f"queue{number}" for number in range(10)]
    with leased(tmp_path, lease=60) as here, here.client() as client:
        exporter = Exporter(here, tmp_path / "exporter", python)
        here.start(here.release("r", APP), queues=queues)
        for number in range(5):
            send(client, number, 600, queue="queue0")
        assert until(lambda: len(begun(here)) == 4)
        for queue in queues:
            for priority in (0, 3, 6, 9):
                for _ in range(3):
                    client.send_task("good", queue=queue, priority=priority)
        with exporter.running():
            assert until(lambda: exporter.scrape().value("celery_queue_length", queue_name="queue9") == 12)
            most, used = 20 + 2 * len(queues), Counter[str]()
            with here.redis() as redis:
                own = {client["addr"] for client in redis.client_list() if client["user"] == "monitor"}

                def asks_little() -> bool:
                    with redis.monitor() as watching:
                        said = exporter.scrape().value("fleet_exporter_commands")
                        redis.echo("over")
                        used.clear()
                        used.update(commands(watching.listen(), own))
                    assert "publish" not in used, "workers are not asked"
                    return said is not None and said <= most and 0 < sum(used.values()) <= most

                # As long as the worker says every second how long its lists are, which it may not on a busy machine.
                assert until(asks_little), used


def commands(heard: Iterator[dict[str, Any]], clients: Collection[str]) -> Counter[str]:
    """What clients have asked Redis until somebody says ECHO. clients: their addresses."""
    used = Counter[str]()
    for command in heard:
        name = str(command["command"]).split()[0].lower()
        if name == "echo":
            break
        if f"{command['client_address']}:{command['client_port']}" in clients:
            used[name] += 1
    return used


def test_a_broker_that_is_away_is_a_metric_and_no_error(tmp_path: Path) -> None:
    with leased(tmp_path, lease=4) as here:
        exporter = Exporter(here, tmp_path / "exporter")
        with exporter.running():
            assert exporter.scrape().value("fleet_broker_up") == 1
            with here.redis() as redis:
                redis.shutdown(nosave=True)
            assert until(lambda: exporter.scrape().value("fleet_broker_up") == 0)
            away = exporter.scrape()
            assert away.value("fleet_queue_consumers_min", queue="default") == 1, "what the settings ask for is there"
            assert not {"fleet_queue_messages", "fleet_worker_up"} & away.names, "and nothing stale"
            assert until(lambda: (exporter.scrape().value("fleet_source_age_seconds", source="broker") or 0) > 1)


def test_whether_a_beat_leads(tmp_path: Path) -> None:
    with leased(tmp_path, lease=4) as here:
        (tmp_path / "jobs.py").write_text(BEAT_APP)
        beats = Beats(tmp_path, here.port)
        exporter = Exporter(here, tmp_path / "exporter")
        with exporter.running():
            assert "fleet_beat_led" not in exporter.scrape().names
        exporter = Exporter(here, tmp_path / "exporter", beats=2)
        with exporter.running():
            assert exporter.scrape().value("fleet_beat_led") == 0
            beats.start("a")
            try:
                assert exporter.scrape().value("fleet_beat_led") == 1
            finally:
                beats.processes["a"].kill()
                beats.processes["a"].wait()
            assert until(lambda: exporter.scrape().value("fleet_beat_led") == 0)


@pytest.mark.parametrize("content", ["", "[]", '{"workers": []}'])
def test_a_file_that_is_none_of_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / "fleet.json").write_text(content)
    command = [sys.executable, "-m", "fleet_exporter", str(tmp_path / "fleet.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert str(tmp_path / "fleet.json") in done.stderr
