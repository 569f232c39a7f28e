"""A Redis that answers and refuses commands: it is full, or read-only for a while. Nothing is lost, and no worker ends."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.lease_support import LEASE, begun, ended, leased, left, order, send, twice, until
from tests.unit.process_support import Machine, pools
from tests.unit.shop_support import free_port

QUICK = """
@app.task(name="quick", acks_late=True, ignore_result=True)
def quick(number):
    pass
@app.task(name="again", acks_late=True, ignore_result=True, bind=True, max_retries=None)
def again(self):
    from celery.exceptions import Reject
    raise Reject("not now", requeue=True)
"""


def done(here: Machine) -> int:
    """How many tasks have ended."""
    return here.output().count("succeeded in")


def journal(here: Machine) -> str:
    """What the first worker has written, which may not have begun yet."""
    path = here.runtime("celery-web@1.service") / "journal"
    return path.read_text() if path.exists() else ""


@pytest.mark.long
@pools("threads", "gevent", "prefork")
def test_a_broker_that_is_full_is_worked_off(tmp_path: Path, pool: str) -> None:
    """For longer than the lease, too. Otherwise it would be full for ever."""
    with leased(tmp_path, pool) as here, here.client() as client, here.redis() as redis:
        worker = here.start(here.release("r", QUICK))
        for number in range(4):
            client.send_task("quick", [number], queue="default")
        assert until(lambda: done(here) == 4)
        for number in range(20):
            client.send_task("quick", [number], queue="elsewhere")
            client.send_task("quick", [number], queue="later")
        redis.config_set("maxmemory", 1 << 20)  # less than it has
        redis.rename("elsewhere", "default")  # what makes nothing longer is allowed
        assert until(lambda: done(here) == 24), here.output()
        assert until(lambda: "the broker is full: it takes no new tasks" in here.output())
        since = redis.time()[0]
        assert until(lambda: redis.time()[0] > since + 2 * LEASE)
        redis.rename("later", "default")
        assert until(lambda: done(here) == 44), here.output()
        assert "the lease has ended" not in here.output()
        redis.config_set("maxmemory", 0)
        client.send_task("quick", [4], queue="default")
        assert until(lambda: done(here) == 45), here.output()
        assert worker.poll() is None


@pytest.mark.long
@pools("threads", "prefork")
def test_a_broker_that_is_read_only_for_a_while_is_asked_again(tmp_path: Path, pool: str) -> None:
    """As after a failover, or with a full disk. What ran meanwhile is acknowledged afterwards."""
    with leased(tmp_path, pool, lease=60) as here, here.client() as client, here.redis() as redis:
        worker = here.start(here.release("r"))
        send(client, 0, 4)
        send(client, 1)
        assert until(lambda: begun(here).keys() == {0, 1})
        redis.replicaof("127.0.0.1", free_port())
        assert until(lambda: "Redis refuses commands" in here.output()), here.output()
        redis.replicaof("no", "one")
        assert until(lambda: ended(here) == {0, 1}), here.output()
        send(client, 2)
        assert until(lambda: ended(here) == {0, 1, 2}), here.output()
        assert worker.poll() is None
        assert until(lambda: set(left(here)) == {b"fleet.workers"}), left(here)
        assert "accepts commands again" in here.output()
        assert not twice(here)


@pytest.mark.long
def test_what_a_task_gives_back_goes_back_though_redis_refuses_it_at_first(tmp_path: Path) -> None:
    with leased(tmp_path, lease=60) as here, here.client() as client, here.redis() as redis:
        worker = here.start(here.release("r", QUICK.replace("raise Reject", "import time; time.sleep(2); raise Reject")))
        client.send_task("again", queue="default")
        assert until(lambda: "again" in here.output() and "received" in here.output())
        redis.replicaof("127.0.0.1", free_port())
        assert until(lambda: "reject requeue=True" in here.output()), here.output()
        redis.replicaof("no", "one")
        assert until(lambda: here.output().count("reject requeue=True") > 1), here.output()
        assert worker.poll() is None


def test_a_worker_that_starts_while_its_broker_refuses_commands_waits_for_it(tmp_path: Path) -> None:
    with leased(tmp_path, lease=60) as here, here.client() as client, here.redis() as redis:
        release = here.release("r")
        send(client, 0)
        redis.replicaof("127.0.0.1", free_port())
        with ThreadPoolExecutor(1) as beside:
            started = beside.submit(here.start, release)
            assert until(lambda: "Redis refuses commands" in journal(here))
            redis.replicaof("no", "one")
        assert started.result().poll() is None
        assert until(lambda: ended(here) == {0}), here.output()
        assert order(here) == [0]
