"""A worker whose messages others have been given while it could not renew its lease."""

import signal
from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.lease_support import LEASE, begun, ended, leased, send, until

POOLS = pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "solo"])


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
