"""A worker whose messages others have been given while it could not renew its lease."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.lease_support import LEASE, begun, ended, leased, send, until
from tests.unit.process_support import pools

POOLS = pools("prefork", "threads", "gevent", "solo")


@pytest.mark.long
@POOLS
def test_a_message_that_comes_back_to_the_worker_that_lost_it_is_run(tmp_path: Path, pool: str) -> None:
    """The other worker gives back what the stopped one held, and is too busy to take it."""
    with leased(tmp_path, pool) as here, here.client() as client, here.redis() as redis:
        here.concurrency, here.prefetch = 1, 2
        release = here.release("r")
        stopped = here.start(release, 1)
        send(client, 0, LEASE)
        assert until(lambda: 0 in begun(here))
        send(client, 1)
        assert until(lambda: redis.hlen("unacked") == (1 if pool == "solo" else 2))
        stopped.send_signal(signal.SIGSTOP)
        here.start(release, 2, ["other"])  # it takes nothing of this queue
        assert until(lambda: redis.llen("default") == 2, LEASE + 20), here.output(2)
        stopped.send_signal(signal.SIGCONT)
        assert until(lambda: ended(here) == {0, 1}), here.output(1)
        assert until(lambda: redis.hlen("unacked") == 0), here.output(1)


@pytest.mark.long
@pools("prefork", "threads", "gevent")
def test_a_drained_worker_leaves_to_others_what_it_has_not_begun(tmp_path: Path, pool: str) -> None:
    """It takes nothing any more, so that taking does not tell it that others have been given what it held."""
    with leased(tmp_path, pool) as here, here.client() as client, here.redis() as redis:
        here.concurrency, here.prefetch = 1, 2
        release = here.release("r")
        stopped = here.start(release, 1)
        send(client, 0, LEASE)
        send(client, 1)
        assert until(lambda: 0 in begun(here) and redis.hlen("unacked") == 2)
        assert client.control.cancel_consumer("default", destination=["web-worker-1@test"], reply=True, timeout=10, limit=1)
        stopped.send_signal(signal.SIGSTOP)
        here.start(release, 2)
        assert until(lambda: ended(here) >= {0, 1}, LEASE + 30), here.output(2)
        stopped.send_signal(signal.SIGCONT)
        assert until(lambda: "others are left to them" in here.output(1)), here.output(1)
        assert begun(here)[1] == ["web-worker-2@test"]
        assert until(lambda: not redis.hlen("unacked"))


@pytest.mark.long
@POOLS
def test_what_has_not_begun_does_not_begin_before_it_is_known_whose_it_is(tmp_path: Path, pool: str) -> None:
    """The worker goes on after a pause, and Redis does not answer yet: it has no way to know what others were given meanwhile."""
    with leased(tmp_path, pool) as here, here.client() as client, here.redis() as redis:
        here.concurrency, here.prefetch = 1, 3
        release = here.release("r")
        stopped = here.start(release, 1)
        broker = redis.info()["process_id"]
        send(client, 1, countdown=LEASE + 2)
        assert until(lambda: redis.hlen("unacked") == 1)
        if pool != "solo":  # which takes nothing while it runs a task
            send(client, 0, LEASE)
            assert until(lambda: 0 in begun(here))
            send(client, 2)
            assert until(lambda: redis.hlen("unacked") == 3)
        stopped.send_signal(signal.SIGSTOP)
        here.start(release, 2)
        assert until(lambda: ended(here) >= ({1} if pool == "solo" else {0, 1, 2}), LEASE + 30), here.output(2)
        os.kill(broker, signal.SIGSTOP)
        try:
            stopped.send_signal(signal.SIGCONT)
            if pool == "solo":
                time.sleep(1)  # it says nothing until Redis answers
            elif pool == "prefork":
                assert until(lambda: "succeeded in" in here.output(1)), here.output(1)
        finally:
            os.kill(broker, signal.SIGCONT)
        assert until(lambda: "the lease has ended" in here.output(1)), here.output(1)
        here.stop(["celery-web@2.service"])
        send(client, 3)
        assert until(lambda: 3 in ended(here)), here.output(1)
        assert begun(here)[1] == ["web-worker-2@test"], here.output(1)
        assert pool == "solo" or begun(here)[2] == ["web-worker-2@test"], here.output(1)
        assert until(lambda: redis.hlen("unacked") == 0), here.output(1)
