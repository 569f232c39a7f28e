"""A drain finds a worker idle when it has finished what it holds."""

import json
from typing import cast

from fleet_node.protocol import DrainReport
from tests.matrix.support import JOBS, Broker, begun, ended, output, until
from tests.unit.process_support import Machine

UNIT = "celery-web@1.service"


def drained(here: Machine) -> DrainReport:
    """Stop the worker as its unit does. Returns how its drain went."""
    here.stop([UNIT])
    return cast(DrainReport, json.loads((here.runtime(UNIT) / "drain.json").read_text()))


def test_it_finishes_what_it_holds_and_gives_back_what_waits(here: Machine) -> None:
    here.start(here.release("r", JOBS))
    with here.client() as client, here.redis() as redis:
        for number in range(8):
            client.send_task("jobs.work", [number, 1.5], queue="default")
        client.send_task("jobs.work", [99], queue="default", countdown=300)
        assert until(lambda: len(begun(here)) == 4), output(here)
        report = drained(here)
        assert (report["outcome"], report["running"], report["reserved"]) == ("idle", {}, 0), report
        assert (len(ended(here)) + redis.llen("default"), redis.hlen("unacked")) == (9, 0)
    assert set(begun(here).values()) == {1}


def test_it_is_idle_though_the_broker_restarted_while_it_was_at_work(here: Machine, broker: Broker) -> None:
    here.start(here.release("r", JOBS))
    with here.client() as client:
        client.send_task("jobs.work", [1, 5], queue="default")
        assert until(lambda: begun(here) == {1: 1}), output(here)
        broker.stop()
        assert until(lambda: "Connection to broker lost" in here.output()), output(here)
        broker.start()
        assert until(lambda: client.control.ping(["web-worker-1@test"], timeout=1)), output(here)
        assert until(lambda: 1 in ended(here)), output(here)
    report = drained(here)
    assert report["outcome"] == "idle", report
    assert set(ended(here)) == {1}


def test_it_waits_for_what_still_runs_after_a_restart_of_the_broker(here: Machine, broker: Broker) -> None:
    here.start(here.release("r", JOBS))
    with here.client() as client:
        client.send_task("jobs.work", [1, 12], queue="default")
        assert until(lambda: begun(here) == {1: 1}), output(here)
        broker.stop()
        assert until(lambda: "Connection to broker lost" in here.output()), output(here)
        broker.start()
        assert until(lambda: client.control.ping(["web-worker-1@test"], timeout=1)), output(here)
    report = drained(here)
    assert (report["outcome"], ended(here)) == ("idle", {1}), report
