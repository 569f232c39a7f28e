"""What a fleet promises of workers holds with RabbitMQ: a real node, and workers as units start them."""

import json
import signal
from collections import Counter
from pathlib import Path

import pytest
from kombu import Connection  # type: ignore[attr-defined]  # kombu's types are unfinished

from fleet_node.protocol import DEAD_LETTERS
from tests.matrix.support import begun, end_tree, ended, output, until
from tests.unit.fleet_node.broker.rabbitmq_machine import (
    APP,
    NODE,
    QUEUES,
    UNIT,
    dead_letters,
    is_well_and_drains,
    producer,
    rabbit_machine,
    waiting,
)
from tests.unit.rabbitmq_support import Vhost
from tests.unit.shop_support import PATIENCE, free_port

pytestmark = pytest.mark.long
SLOW = pytest.mark.slow


@pytest.mark.parametrize("pool", [pytest.param("prefork", marks=SLOW), "threads", pytest.param("gevent", marks=SLOW), "solo"])
def test_a_worker_is_well_and_its_drain_loses_nothing(tmp_path: Path, vhost: Vhost, pool: str) -> None:
    with rabbit_machine(tmp_path, vhost, pool) as here, producer(here) as client:
        is_well_and_drains(here, client, vhost)


def test_what_waits_for_its_eta_in_a_worker_goes_back(tmp_path: Path, vhost: Vhost) -> None:
    direct = APP.replace('type="topic"', 'type="direct"')
    with rabbit_machine(tmp_path, vhost, "threads") as here, producer(here) as client:
        here.start(here.release("r", direct))
        exec(QUEUES.replace("topic", "direct"), {"app": client})  # noqa: S102 - the very lines of the app
        client.send_task("jobs.work", [1], queue="default", countdown=300)
        assert until(lambda: "Task jobs.work" in here.output()), output(here)
        here.stop([UNIT])
        report = json.loads((here.runtime(UNIT) / "drain.json").read_text())
        assert (report["outcome"], report["eta"]) == ("idle", 1), report
        assert until(lambda: waiting(vhost) == 1)


def test_threads_acknowledge_at_once(tmp_path: Path, vhost: Vhost) -> None:
    with rabbit_machine(tmp_path, vhost, "threads") as here, producer(here) as client:
        here.concurrency = 1
        here.start(here.release("r", APP))
        for number in range(60):
            client.send_task("jobs.work", [number])
        assert until(lambda: len(ended(here)) == 60), len(ended(here))  # each of them a second late would take twice as long


def test_what_another_release_sends_is_kept_for_it(tmp_path: Path, vhost: Vhost) -> None:
    with rabbit_machine(tmp_path, vhost, "prefork") as here, producer(here) as client:
        here.start(here.release("old", APP))
        sent = client.send_task("jobs.other", ["x"])
        assert until(lambda: "parked" in here.output()), output(here)
        assert waiting(vhost, DEAD_LETTERS) == 1
        here.stop([UNIT])  # as long as one of the old ones is there, it may take it again
        other = "\n@app.task\ndef other(what):\n    return what * 2\n"
        here.start(here.release("new", APP + other), number=2)
        assert sent.get(timeout=PATIENCE) == "xx"
        assert until(lambda: waiting(vhost, DEAD_LETTERS) == 0)


def test_what_somebody_reads_as_a_worker_starts_is_sent_again_too(tmp_path: Path, vhost: Vhost) -> None:
    direct = APP.replace('type="topic"', 'type="direct"')
    with rabbit_machine(tmp_path, vhost, "threads") as here, producer(here) as client:
        exec(QUEUES.replace("topic", "direct"), {"app": client})  # noqa: S102 - the very lines of the app
        here.start(here.release("old", direct))
        sent = client.send_task("jobs.other", ["x"])
        assert until(lambda: "parked" in here.output()), output(here)
        here.stop([UNIT])
        with Connection(vhost.url) as reader:  # type: ignore[no-untyped-call]
            assert reader.default_channel.basic_get(DEAD_LETTERS)
            here.start(here.release("new", direct + "\n@app.task\ndef other(what):\n    return what * 2\n"), number=2)
            assert waiting(vhost, DEAD_LETTERS) == 0
        assert sent.get(timeout=PATIENCE) == "xx"


@pytest.mark.parametrize("death", ["its process", pytest.param("its worker", marks=SLOW)])
def test_a_task_that_kills_is_parked_and_its_neighbours_are_not(tmp_path: Path, vhost: Vhost, death: str) -> None:
    pool = "prefork" if death == "its process" else "solo"
    with rabbit_machine(tmp_path, vhost, pool) as here, producer(here) as client:
        here.concurrency, here.prefetch = 1, 4
        release = here.release("r", APP)
        here.start(release)
        poison = client.send_task("jobs.poison", [0])
        for number in range(1, 4):
            client.send_task("jobs.work", [number])
        while not waiting(vhost, DEAD_LETTERS):
            assert until(lambda: waiting(vhost, DEAD_LETTERS) or not here.process(UNIT)), output(here)
            if not here.process(UNIT):  # as systemd does
                here.start(release)
        assert until(lambda: ended(here) == {1, 2, 3}), output(here)
        assert begun(here)[0] == 3  # the first time, and after two redeliveries
        assert "parked after 2 redeliveries" in str(poison.get(timeout=PATIENCE, propagate=False))
        assert until(
            lambda: not [name for name in vhost.queues() if name.startswith("fleet.deliveries.") and name[17:] != poison.id]
        )
        [letter] = dead_letters(vhost)
        assert (letter["queue"], letter["redelivered"], letter["unknown"]) == ("default", 2, False)


def test_a_delayed_task_is_of_its_queue_however_often_it_retries(tmp_path: Path, vhost: Vhost) -> None:
    again = """
@app.task(bind=True, max_retries=5)
def again(self):
    if self.request.retries < 5:
        raise self.retry(countdown=1)
    return self.request.delivery_info["routing_key"]
"""
    with rabbit_machine(tmp_path, vhost, "prefork") as here, producer(here) as client:
        here.start(here.release("r", APP + again))
        sent = client.send_task("jobs.again", countdown=1)
        assert sent.get(timeout=PATIENCE) == "default", output(here)
        [answer] = client.control.broadcast("fleet_sign", reply=True, destination=[NODE])
        [counts] = answer[NODE]["tasks"]
        assert (counts["queue"], counts["started"], counts["succeeded"]) == ("default", 6, 1)


def test_delayed_delivery_is_set_up_once_and_by_a_node_that_is_there(tmp_path: Path, vhost: Vhost) -> None:
    with rabbit_machine(tmp_path, vhost, "threads") as here, producer(here) as client:
        away = f"amqp://127.0.0.1:{free_port()}"
        here.more["CELERY_BROKER_URL"] = f"{away};{here.broker};{away}/other"
        here.start(here.release("r", APP))
        sent = client.send_task("jobs.work", [1], countdown=1)
        sent.get(timeout=PATIENCE)
        assert "delayed delivery" not in here.output()


def test_queues_that_cannot_use_delayed_delivery_have_none(tmp_path: Path, vhost: Vhost) -> None:
    with rabbit_machine(tmp_path, vhost, "threads") as here:
        here.start(here.release("r", APP.replace('type="topic"', 'type="direct"')))
        assert not [name for name in (*vhost.queues(), *vhost.exchanges()) if "delayed" in name]


@pytest.mark.parametrize("pool", ["threads", pytest.param("gevent", marks=SLOW), pytest.param("solo", marks=SLOW)])
def test_what_a_silent_worker_held_comes_back(tmp_path: Path, vhost: Vhost, pool: str) -> None:
    """And what a worker computes that says nothing itself does not."""
    with rabbit_machine(tmp_path, vhost, pool, broker_heartbeat=1) as here, producer(here) as client:
        release = here.release("r", APP)
        here.start(release)
        client.send_task("jobs.compute", [1, 5])
        assert until(lambda: begun(here)[1] == 1), output(here)
        here.start(release, number=2)
        assert until(lambda: ended(here) == {1}), output(here)
        assert begun(here) == Counter({1: 1}), output(here, 2)
        client.control.cancel_consumer("default", destination=["web-worker-2@test"], reply=True, timeout=PATIENCE)
        client.send_task("jobs.work", [2, 1])
        assert until(lambda: begun(here)[2] == 1), output(here)
        here.running[UNIT].send_signal(signal.SIGSTOP)
        client.control.add_consumer("default", destination=["web-worker-2@test"], reply=False)
        assert until(lambda: 2 in ended(here)), output(here, 2)
        end_tree(here.running[UNIT])
        del here.running[UNIT]
