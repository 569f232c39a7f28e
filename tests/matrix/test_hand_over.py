"""A task that is published while workers wait and die is in the queue or with a worker that is alive."""

import signal
import time

from tests.matrix.support import GIVEN_BACK, JOBS, begun, end_tree, ended, nothing_is_left, output, until
from tests.unit.process_support import Machine

TRIES = 5


def test_what_is_published_while_a_waiting_worker_is_stopped_and_killed_is_not_lost(here: Machine) -> None:
    """A stopped process stands for a machine that was reset: its connections are as they were."""
    release = here.release("r", JOBS)
    with here.client() as client, here.redis() as redis:
        for number in range(1, TRIES + 1):
            worker = here.start(release, number)
            # It has acknowledged what its predecessor did not take, and waits.
            assert until(lambda: nothing_is_left(here) and redis.info("clients")["blocked_clients"]), output(here, number)
            worker.send_signal(signal.SIGSTOP)
            client.send_task("jobs.work", [number], queue="default")
            time.sleep(0.3)  # Redis hands it over at once, or never
            end_tree(worker)
        here.start(release, TRIES + 1)
        everything = set(range(1, TRIES + 1))
        assert until(lambda: ended(here) == everything, GIVEN_BACK), f"lost: {everything - ended(here)}"
        assert until(lambda: nothing_is_left(here))
        assert set(begun(here).values()) == {1}
