"""Tasks that no worker can run are parked."""

import json
import signal

from tests.matrix.support import JOBS, begun, ended, output, until
from tests.unit.process_support import Machine
from tests.unit.shop_support import PATIENCE

KNOWN_LATER = """
@app.task(bind=True)
def invented(self, number):
    note(self, number, "end")
"""


def test_a_task_that_a_release_does_not_have_waits_for_one_that_has_it(here: Machine) -> None:
    here.start(here.release("old", JOBS))
    with here.client() as client, here.redis() as redis:
        client.send_task("jobs.invented", [1], queue="default")
        assert until(lambda: redis.hlen("fleet.parked") == 1), output(here)
        assert until(lambda: redis.hlen("unacked") == 0)
        client.send_task("jobs.work", [2], queue="default")
        assert until(lambda: 2 in ended(here)), output(here)
        here.stop(["celery-web@1.service"])
        here.start(here.release("new", JOBS + KNOWN_LATER))
        assert until(lambda: ended(here) == {1, 2}), output(here)
        assert redis.hlen("fleet.parked") == 0


def test_a_task_that_kills_its_worker_is_parked_after_so_many_times(here: Machine) -> None:
    here.more["FLEET_MAX_DELIVERIES"] = "2"
    release = here.release("r", JOBS)
    with here.client() as client, here.redis() as redis:
        worker = here.start(release)
        client.send_task("jobs.poison", [1], queue="default")
        if here.pool != "prefork":  # there it kills a child
            for _ in range(3):
                assert worker.wait(PATIENCE) == -signal.SIGKILL
                worker = here.start(release)  # as systemd does
        assert until(lambda: redis.hlen("fleet.parked")), output(here)
        assert begun(here) == {1: 3}
        (letter,) = (json.loads(text) for text in redis.hvals("fleet.parked"))
        assert (letter["task"], letter["queue"], letter["redelivered"]) == ("jobs.poison", "default", 2)
        client.send_task("jobs.work", [2], queue="default")
        assert until(lambda: 2 in ended(here)), output(here)
