"""Tasks that Celery ends, and that nobody has acknowledged."""

import signal
from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.lease_support import begun, ended, leased, send, until
from tests.unit.shop_support import PATIENCE


@pytest.mark.long
def test_a_task_that_celery_ends_with_its_connection_runs_again(tmp_path: Path) -> None:
    with (
        leased(tmp_path, "prefork", 15, worker_cancel_long_running_tasks_on_connection_loss=True) as here,
        here.client() as client,
    ):
        here.start(here.release("r"))
        send(client, 1, 3)
        assert until(lambda: begun(here))
        with here.redis() as redis:
            redis.client_kill_filter(_type="normal", skipme=True)
        assert until(lambda: ended(here) == {1}), here.output()
        assert until(lambda: not redis.hlen("unacked")), here.output()


@pytest.mark.long
@pytest.mark.parametrize("pool", ["prefork", "gevent", "solo"])
def test_a_worker_that_is_told_to_end_at_once_gives_back_what_it_runs(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool, 15) as here, here.client() as client, here.redis() as redis:
        release = here.release("r")
        worker = here.start(release)
        send(client, 1, 2)
        assert until(lambda: begun(here))
        worker.send_signal(signal.SIGQUIT)
        worker.wait(PATIENCE)
        assert redis.llen("default") == 1 and not redis.hlen("unacked"), here.output()
        here.start(release)
        assert until(lambda: ended(here) == {1}), here.output()
