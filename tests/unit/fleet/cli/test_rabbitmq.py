"""The commands of a fleet whose broker is a RabbitMQ: real workers, a real server, and an sshd on loopback."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

from fleet.rollout import action
from fleet_node.protocol import DEAD_LETTERS
from tests.unit.fleet.cli.native_support import GROUP_DATA, Project, project
from tests.unit.fleet.cli.top_support import opened
from tests.unit.fleet_node.broker.rabbitmq_machine import settings
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import ROOT
from tests.unit.rabbitmq_support import Node, Vhost, rabbitmq, vhost
from tests.unit.shop_support import free_port

__all__ = ["rabbitmq", "vhost"]
pytestmark = pytest.mark.slow
ALL = GROUP_DATA["all"] + 'broker = {"url": "@BROKER_URL"}\nresult_backend = "@RESULT_URL"\n'
APP = """
import time

@app.task(name="work")
def work(seconds): time.sleep(seconds)
"""
NODE = "web-worker-1@web1"
AGES = "how long tasks wait: RabbitMQ shows a message only by handing it out"


@contextmanager
def rabbit_project(folder: Path, url: str) -> Iterator[Project]:
    """A fleet whose broker somebody else runs. Its workers' Redis has results alone."""
    (folder / "here").mkdir()
    with project(folder, external=True, group_data={"all": ALL}) as made:
        made.here.broker = url
        made.here.more = {"FLEET_CELERY": json.dumps(settings()), "FLEET_LOG": "text", "FLEET_MAX_DELIVERIES": "2"}
        results = f"redis://127.0.0.1:{made.here.port}/1"
        (made.folder / "s.env").write_text(f"BROKER_URL={url}\nRESULT_URL={results}\n")
        yield made


@pytest.fixture
def made(tmp_path: Path, vhost: Vhost) -> Iterator[Project]:
    with rabbit_project(tmp_path, vhost.url) as made:
        yield made


@pytest.fixture
def client(vhost: Vhost) -> Iterator[Celery]:
    app = Celery(broker=vhost.url, set_as_current=False)
    app.conf.task_queues = [
        Queue(name, routing_key=name, queue_arguments={"x-queue-type": "quorum"})  # type: ignore[no-untyped-call]
        for name in ("default", "quiet", "nobody")
    ]
    try:
        yield app
    finally:
        app.close()


def start(made: Project, number: int = 1) -> None:
    folder = made.here.root / "releases" / "r"
    made.here.start(folder if folder.exists() else made.here.release("r", APP), number, queues=("default", "quiet"))


def test_what_waits_and_who_works(made: Project, client: Celery) -> None:
    start(made)
    for _ in range(6):
        client.send_task("work", [200], queue="default")
    assert until(lambda: made.json("load", "prod.py")["workers"][NODE]["active"] == 4)
    for _ in range(3):
        client.send_task("work", [0], queue="nobody")
    load = made.json("load", "prod.py")
    worker = load["workers"][NODE]
    assert (worker["state"], worker["running"], worker["prefetched"]) == ("busy", {"work": 4}, 0)
    assert worker["witnesses"]["connection"] is None
    assert load["roles"]["web"]["waiting"] == 2
    assert (load["broker"], set(load["not_known"])) == ("answers", {"oldest_s", "orphaned", "other_queues", "health"})
    queues = made.json("queues", "prod.py", "--seconds", "0")
    default, quiet = queues["queues"]["default"], queues["queues"]["quiet"]
    assert (default["waiting"], default["consumers"], default["expected_consumers"]) == (2, 1, 1)
    assert (default["oldest_s"], default["oldest_bounds_s"], default["in_flight"]["orphaned"]) == (None, None, None)
    assert (default["in_flight"]["running"], quiet["waiting"], quiet["consumers"]) == (4, 0, 1)
    assert "nobody" not in queues["queues"], "RabbitMQ is not asked for it by name"
    done = made.fleet("queues", "prod.py", "--seconds", "0")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split()[:3] == ["default", "2", "?"]
    assert done.stderr.splitlines()[0] == f"not known: {AGES}"
    status = made.json("status", "prod.py")
    assert (status["working"], status["broker"], status["problems"]) == (True, "answers", [])


def test_a_worker_that_dies(made: Project, client: Celery) -> None:
    start(made)
    for _ in range(3):
        client.send_task("work", [60], queue="default")
    assert until(lambda: made.json("load", "prod.py")["workers"][NODE]["active"] == 3)
    made.here.end()
    found: list[Any] = []

    def is_back() -> bool:
        done = made.fleet("queues", "prod.py", "--seconds", "0", "--json")
        found.append((done.returncode, json.loads(done.stdout)["queues"]["default"]))
        return bool(found[-1][1]["waiting"] == 3)

    assert until(is_back), found
    assert (found[-1][0], found[-1][1]["consumers"]) == (1, 0), "nobody consumes it"
    assert made.json("load", "prod.py")["workers"][NODE]["state"] == "dead"


def test_its_only_worker_is_not_retired(made: Project, client: Celery) -> None:
    start(made)
    for _ in range(6):
        client.send_task("work", [60], queue="default")
    assert until(lambda: made.json("load", "prod.py")["workers"][NODE]["active"] == 4)
    done = made.fleet("retire", "prod.py", "web1", "--dry")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no worker would consume them any more: 2 tasks wait in default, and workers hold 4 of it" in done.stderr


def test_dead_letters(made: Project, client: Celery) -> None:
    start(made)
    for number in range(3):
        client.send_task("no.such.task", [number], queue="default", task_id=f"{number}-id")
    assert until(lambda: made.json("queues", "prod.py", "--seconds", "0")["queues"]["default"]["dead_letters"] == 3)
    done = made.fleet("parked", "list", "prod.py", "--json")
    letters = [json.loads(line) for line in done.stdout.splitlines()]
    assert [letter["id"] for letter in letters] == ["0-id", "1-id", "2-id"]
    assert {(letter["task"], letter["queue"], letter["unknown"]) for letter in letters} == {("no.such.task", "default", True)}
    assert letters[1]["args"] == "[1]"
    assert made.fleet("parked", "drop", "prod.py", "1-").stdout == "dropped: 1\n"
    assert made.fleet("parked", "drop", "prod.py", "1-").returncode == 1
    made.here.stop(["celery-web@1.service"])
    done = made.fleet("parked", "requeue", "prod.py", "--all")
    assert (done.returncode, done.stdout) == (0, "sent again: 2\n"), done.stderr
    with client.connection_for_write() as connection:
        channel = connection.default_channel
        assert channel.queue_declare(DEAD_LETTERS, passive=True).message_count == 0
        sent = [channel.basic_get("default").properties["application_headers"] for _ in range(2)]
        assert {headers["id"] for headers in sent} == {"0-id", "2-id"}
        assert {(headers["task"], "fleet_parked" in headers) for headers in sent} == {("no.such.task", False)}
    assert made.fleet("parked", "list", "prod.py").stdout == "nothing is parked\n"


def test_a_letter_whose_queue_is_gone_stays(made: Project, client: Celery) -> None:
    start(made)
    client.send_task("no.such.task", queue="default")
    assert until(lambda: "no.such.task" in made.fleet("parked", "list", "prod.py").stdout)
    made.here.stop(["celery-web@1.service"])
    with client.connection_for_write() as connection:
        connection.default_channel.queue_delete("default")
    done = made.fleet("parked", "requeue", "prod.py", "--all")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "RabbitMQ has no queue default: nothing was sent again; start a worker that consumes it\n"
    assert made.fleet("parked", "list", "prod.py", "--json").stdout.count("no.such.task") == 1


@pytest.mark.slow
def test_what_is_wrong_is_one_line(made: Project, rabbitmq: Node) -> None:
    good = f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}"
    for url, why in (
        (f"{good}/none", "RabbitMQ has no virtual host none, or does not let the user in"),
        (good.replace("guest:guest", "guest:wrong-password") + "/", "RabbitMQ refuses the user or the password"),
        (f"amqp://guest:guest@127.0.0.1:{free_port()}/", "no RabbitMQ answers there"),
    ):
        (made.folder / "s.env").write_text(f"BROKER_URL={url}\nRESULT_URL=redis://127.0.0.1:9/0\n")
        for words in (("queues", "prod.py"), ("parked", "list", "prod.py")):
            done = made.fleet(*words)
            assert (done.returncode in (1, 2), done.stdout) == (True, "")
            assert len(done.stderr.splitlines()) == 1 and why in done.stderr, done.stderr
            assert "wrong-password" not in done.stderr
        for words in (("load", "prod.py"), ("status", "prod.py")):
            done = made.fleet(*words)
            assert done.returncode == 1
            assert why in done.stdout and "Traceback" not in done.stderr, done.stdout + done.stderr


def test_celery_of_the_user_through_the_connection(made: Project) -> None:
    start(made)
    call = [sys.executable, "-m", "celery", "inspect", "ping"]
    done = made.fleet("connect", "prod.py", "--", *call)
    assert NODE in done.stdout, done.stdout + done.stderr


def test_the_screen_of_top(made: Project, client: Celery, vhost: Vhost, monkeypatch: pytest.MonkeyPatch) -> None:
    start(made)
    for _ in range(6):
        client.send_task("work", [60], queue="default")
    monkeypatch.chdir(made.folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(made.folder / "kept"))
    monkeypatch.syspath_prepend(str(ROOT))

    async def see() -> None:
        async with opened(made, (180, 50), {"default": 1.0}) as screen:
            assert await screen.shows(r"default +2 +\?"), screen.text
            assert await screen.shows(r"web-worker-1@web1 +busy"), screen.text
            assert "over" not in screen.text, "how old the oldest is, nobody knows"
            (line,) = action.pause("default", [NODE], vhost.url, Path("prod.py")).run()
            assert line == f"takes nothing more from default: {NODE}"
            assert await screen.shows(r"default.*0/1 min 1"), screen.text
            made.here.end()
            assert await screen.shows(r"web-worker-1@web1 +dead"), screen.text

    asyncio.run(see())


@pytest.mark.slow
def test_a_recording(made: Project, client: Celery) -> None:
    start(made)
    for _ in range(6):
        client.send_task("work", [60], queue="default")
    assert until(lambda: made.json("load", "prod.py")["workers"][NODE]["active"] == 4)
    done = made.fleet("record", "prod.py", "-o", "recording.jsonl", "--for", "0")
    assert done.returncode == 0, done.stderr
    entry = json.loads((made.folder / "recording.jsonl").read_text().splitlines()[-1])
    waiting, least, most, running, _, _, orphaned, consumers, *_ = entry["q"]["default"]
    assert (waiting, least, most, running, orphaned, consumers) == (2, None, None, 4, None, 1)
    done = made.fleet("report", "prod.py", "--from", "recording.jsonl", "-o", "report.html")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_drill_accounts_for_each_task(made: Project) -> None:
    made.here.pool = "prefork"
    start(made)
    done = made.fleet("drill", "kill-child", "prod.py", "--before", "3", "--yes", "--json", timeout=300)
    account = json.loads(done.stdout)
    assert (done.returncode, account["lost"], account["went_wrong"]) == (0, 0, None), done.stderr
    assert account["finished"] == account["sent"] > 0
    assert (account["silence_s"], account["lease_s"]) == (45, None)
    (made.folder / "s.env").write_text((made.folder / "s.env").read_text().replace("redis://", "db+sqlite://"))
    done = made.fleet("drill", "kill-child", "prod.py", "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert "RESULT_URL in s.env is no redis:// or rediss:// URL" in done.stderr
    done = made.fleet("drill", "broker-restart", "prod.py", "--yes")
    assert (done.returncode, done.stderr) == (2, "broker-restart: the broker is not this fleet's\n")
