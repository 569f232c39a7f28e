"""A broker that restarts and has a file costs no task."""

import re

from tests.matrix.support import GIVEN_BACK, JOBS, Broker, begun, ended, nothing_is_left, output, until
from tests.unit.process_support import Machine


def test_nothing_is_lost_and_the_worker_is_soon_back(here: Machine, broker: Broker) -> None:
    worker = here.start(here.release("r", JOBS))
    with here.client() as client:
        for number in range(12):
            client.send_task("jobs.work", [number, 3], queue="default")
        client.send_task("jobs.work", [99], queue="default", countdown=10)
        assert until(lambda: len(begun(here)) == 4), output(here)
        broker.stop()
        # kombu by itself waits longer each time, up to 30 s. A gevent worker whose slots are all taken does not look.
        until(lambda: here.output().count("Trying again in") >= 4, 12)
        waits = {float(seconds) for seconds in re.findall(r"Trying again in (\S+) seconds", here.output())}
        assert max(waits, default=0) <= 4, waits
        broker.start()
        client.send_task("jobs.work", [100], queue="default")
        everything = {*range(12), 99, 100}
        assert until(lambda: ended(here) == everything, GIVEN_BACK + 30), f"lost: {everything - ended(here)}\n{output(here)}"
    assert until(lambda: nothing_is_left(here))
    assert worker.poll() is None
