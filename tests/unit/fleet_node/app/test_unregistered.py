"""Tasks that wait and that a release does not have, looked for in a real Redis."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_node.protocol import UnregisteredTasks
from tests.unit.process_support import ROOT, Machine, machine


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as here:
        yield here


def look(here: Machine, more: str = "", *queues: str) -> UnregisteredTasks:
    """The answer of a release whose app has `more` in it."""
    release = here.release("new", "\n@app.task(name='jobs.here')\ndef here(): pass\n" + more)
    done = subprocess.run(
        [sys.executable, "-m", "fleet_node.app.unregistered", "jobs", *(queues or ("default", "batch"))],
        input="".join(f"{name}={value}\n" for name, value in here.environment.items() if name.startswith("CELERY_")),
        env=here.environment | {"PYTHONPATH": f"{release}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tasks: UnregisteredTasks = json.loads(done.stdout.strip().removeprefix("fleet-tasks: "))
    return tasks


def test_nothing_waits(here: Machine) -> None:
    assert look(here) == {"unregistered": {}, "looked_at": 0, "not_looked_at": 0}


def test_what_waits_is_counted_by_queue_and_name(here: Machine) -> None:
    with here.client() as client, here.redis() as redis:
        for queue, name, priority in [("default", "jobs.here", 0), ("default", "jobs.gone", 0), ("batch", "jobs.gone", 9)]:
            client.send_task(name, queue=queue, priority=priority)
        client.send_task("jobs.gone", queue="elsewhere")
        client.send_task("fleet.probe", ["token"], queue="default")
        client.send_task("celery.backend_cleanup", queue="default")
        redis.lpush("default", "not a message")
        # In the hands of a worker: as kombu keeps it.
        redis.hset("unacked", "tag", json.dumps([{"headers": {"task": "jobs.held"}}, "", "batch"]))
        redis.hset("unacked", "other", json.dumps([{"headers": {"task": "jobs.held"}}, "tasks", "task.default"]))
    tasks = look(here)
    assert tasks["unregistered"] == {"default": {"jobs.gone": 1}, "batch": {"jobs.gone": 1}, "in flight": {"jobs.held": 2}}
    assert (tasks["looked_at"], tasks["not_looked_at"]) == (8, 0)


def test_a_long_queue_and_a_key_prefix(here: Machine) -> None:
    prefix = "app.conf.broker_transport_options = {'global_keyprefix': 'p:'}\n"
    with here.redis() as redis, redis.pipeline(transaction=False) as pipeline:
        message = json.dumps({"headers": {"task": "jobs.gone"}})
        for _ in range(2500):
            pipeline.lpush("p:default", message)
        pipeline.execute()
    tasks = look(here, prefix, "default")
    assert tasks == {"unregistered": {"default": {"jobs.gone": 2500}}, "looked_at": 2500, "not_looked_at": 0}
