"""A machine whose broker is RabbitMQ, and an app that declares a quorum queue behind a topic exchange, as it has to."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Connection  # type: ignore[attr-defined]  # kombu's types are unfinished

from fleet.spec.reliability import RELIABILITY
from fleet_node.protocol import DEAD_LETTERS, PARKED_HEADER, GateQuestion, GateVerdict
from fleet_node.step.gate_process import GateProcess
from tests.matrix.support import JOBS, begun, ended, output, until
from tests.unit.process_support import Machine, machine
from tests.unit.rabbitmq_support import Vhost
from tests.unit.shop_support import PATIENCE, close

QUEUES = """
from kombu import Exchange, Queue
quorum = {"x-queue-type": "quorum"}
app.conf.task_queues = [Queue("default", Exchange("default", type="topic"), "default", queue_arguments=quorum)]
app.conf.task_default_queue = "default"
app.conf.task_default_exchange_type = "topic"
"""
APP = JOBS + QUEUES
UNIT = "celery-web@1.service"
NODE = "web-worker-1@test"


def settings(**more: Any) -> dict[str, Any]:
    """FLEET_CELERY, as a fleet on RabbitMQ sets it."""
    own = {"task_default_queue_type": "quorum", "broker_heartbeat": 15, **more}
    return {"broker_transport_options": {"confirm_publish": True}, "settings": {**RELIABILITY, **own}}


@contextmanager
def rabbit_machine(folder: Path, vhost: Vhost, pool: str, **more: Any) -> Iterator[Machine]:
    """The machine; its Redis has nothing but results and the ledger of tasks. more: settings of its workers."""
    with machine(folder) as here:
        here.pool, here.broker = pool, vhost.url
        here.more = {"FLEET_CELERY": json.dumps(settings(**more)), "FLEET_LOG": "text", "FLEET_MAX_DELIVERIES": "2"}
        yield here


@contextmanager
def producer(here: Machine) -> Iterator[Celery]:
    """What sends tasks as the app would."""
    app = Celery(broker=here.broker, backend=here.environment["CELERY_RESULT_BACKEND"], set_as_current=False)
    exec(QUEUES, {"app": app})  # noqa: S102 - the very lines of the app
    app.conf.broker_transport_options = {"confirm_publish": True}
    try:
        yield app
    finally:
        close(app)


def complaints(here: Machine, number: int = 1) -> list[str]:
    """What a worker has logged as an error. The machine's systemd hears nothing after a worker's start."""
    lines = here.output(number).splitlines()
    return [line for line in lines if ("ERROR" in line or "CRITICAL" in line) and "worker_shutting_down" not in line]


def waiting(vhost: Vhost, queue: str = "default") -> int:
    """Messages that wait in a queue, and are with nobody."""
    with Connection(vhost.url) as connection:  # type: ignore[no-untyped-call]
        return int(connection.default_channel.queue_declare(queue, passive=True).message_count)


def dead_letters(vhost: Vhost) -> list[dict[str, object]]:
    """What workers say of those that are parked."""
    with Connection(vhost.url) as connection:  # type: ignore[no-untyped-call]
        channel = connection.default_channel
        letters = []
        while message := channel.basic_get(DEAD_LETTERS):
            letters.append(json.loads(message.properties["application_headers"][PARKED_HEADER]))
        return letters


def judged(here: Machine) -> GateVerdict:
    """What a gate says of the worker."""
    request = here.request(here.root / "releases" / "r", [1])["gates"]["web"]
    request["ask"] |= {"expected": 1}
    control = str(here.runtime(UNIT) / "control.json")
    with closing(GateProcess(request, control, [])) as gate:
        assert gate.consumed(PATIENCE) == {NODE: ["default"]}
        question: GateQuestion = {
            "nodes": {NODE: ["default"]},
            "role": "web",
            "canary": False,
            "stopping": [],
            "control": control,
        }
        return gate.judge(question, PATIENCE)


def is_well_and_drains(here: Machine, client: Celery, vhost: Vhost) -> None:
    """Assert that a gate finds a worker well and leaves nothing behind, and that a drain loses no task and has none run twice."""
    here.start(here.release("r", APP))
    verdict = judged(here)
    assert verdict == {"problems": {}, "notes": []}, output(here)
    assert not [name for name in (*vhost.queues(), *vhost.exchanges()) if "probe" in name or ".reply" in name]
    for number in range(6):
        client.send_task("jobs.work", [number, 0.5])
    assert until(lambda: begun(here)), output(here)
    here.stop([UNIT])
    report = json.loads((here.runtime(UNIT) / "drain.json").read_text())
    assert (report["outcome"], report["running"], report["reserved"]) == ("idle", {}, 0), report
    assert until(lambda: len(ended(here)) + waiting(vhost) == 6), (ended(here), waiting(vhost))
    assert set(begun(here).values()) == {1}
    assert not complaints(here)
