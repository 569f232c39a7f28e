"""The fleet's settings are in effect, whatever the app sets."""

import json

from tests.matrix.support import JOBS, begun, end_tree, ended, output, settings, until
from tests.unit.process_support import Machine
from tests.unit.shop_support import PATIENCE

NODE = "web-worker-1@test"


def test_a_task_is_acknowledged_when_it_has_ended_and_what_must_not_run_twice_before(here: Machine) -> None:
    here.more["FLEET_CELERY"] = json.dumps(settings(at_most_once=["jobs.pa*"]))
    release = here.release("r", JOBS)
    worker = here.start(release)
    with here.client() as client, here.redis() as redis:
        client.send_task("jobs.work", [1, 3], queue="default")
        client.send_task("jobs.pay", [2, 3], queue="default")
        assert until(lambda: begun(here) == {1: 1, 2: 1}), output(here)
        assert until(lambda: redis.hlen("unacked") == 1, 2)  # the payment is acknowledged, though it runs
        end_tree(worker)
        here.start(release)
        assert until(lambda: 1 in ended(here)), output(here)
        client.send_task("jobs.work", [3], queue="default")
        assert until(lambda: 3 in ended(here)), output(here)
    assert (begun(here)[1], begun(here)[2]) == (2, 1)


def test_a_worker_says_what_it_is_set_to(here: Machine) -> None:
    here.start(
        here.release("r", JOBS + "\napp.conf.broker_transport_options = {'health_check_interval': 25, 'max_connections': 200}\n")
    )
    with here.client() as client:
        # A worker is ready a moment before it listens to commands: the first may not reach it.
        assert until(lambda: client.control.ping([NODE], timeout=1)), output(here)
        inspect = client.control.inspect(destination=[NODE], timeout=PATIENCE, limit=1)
        conf = inspect.conf()[NODE]
    assert conf["task_acks_late"] is True
    options = conf["broker_transport_options"]
    assert (options["health_check_interval"], options["max_connections"]) == (10, 200)
