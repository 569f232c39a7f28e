"""A minute of kills, pauses and stops at any moment: no run of a dozen entries is skipped or sent twice."""

import json
import random
import signal
import time
from pathlib import Path

import pytest

from tests.unit.fleet_node.beat.beat_support import beats
from tests.unit.fleet_node.delivery.lease_support import until

APP = """
from celery import Celery
app = Celery("jobs")
app.conf.beat_schedule = {f"entry{n}": {"task": "jobs.often", "schedule": 0.05 + n / 100} for n in range(12)}
"""
SECONDS = 60


@pytest.mark.slow
def test_a_minute_of_faults(tmp_path: Path) -> None:
    chance, faults = random.Random(20), 0
    with beats(tmp_path, APP) as here:
        for name in "abc":
            here.start(name)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            assert until(lambda: here.leader() != "")
            assert here.goes_on("entry0", 1 + chance.randrange(20))
            leader = here.leader()
            if leader and chance.random() < 0.3:
                here.send(leader, signal.SIGSTOP)
                assert until(lambda: here.leader() not in ("", leader), 60)  # noqa: B023 - it is asked at once
                here.send(leader, signal.SIGCONT)
                here.processes[leader].wait(20)
                here.end(leader)
                here.start(leader)
            elif leader:
                here.end(leader, chance.choice((signal.SIGKILL, signal.SIGTERM)))
                here.start(leader)
            faults += 1
        for name in "abc":
            here.end(name, signal.SIGTERM)
        assert faults > 5
        assert [problem for number in range(12) for problem in here.problems(f"entry{number}")] == []
        with here.redis() as redis:
            assert sum(json.loads(run)["total_run_count"] for run in redis.hvals("fleet.beat.runs")) > 1000
