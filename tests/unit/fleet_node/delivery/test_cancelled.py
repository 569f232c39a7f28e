"""Tasks that Celery ends, and that nobody has acknowledged."""

from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.lease_support import begun, ended, leased, send, until


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
