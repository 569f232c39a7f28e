"""The two phases of a stop, with a real worker of every pool on a real Redis."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.drill.ledger import Sent
from fleet_node.protocol import DrainReport
from fleet_node.step.snapshot import UNIT_FOLDER
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import Machine, machine
from tests.unit.shop_support import PATIENCE

UNIT = "celery-web@1.service"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as here:
        yield here


def begin(here: Machine, pool: str, sleeps: list[float], etas: int) -> list[Sent]:
    """Start a worker, send it tasks, and wait until it has begun them."""
    here.pool = pool
    path = here.root / UNIT_FOLDER.lstrip("/") / UNIT
    path.parent.mkdir(parents=True)
    path.write_text(here.unit(1, here.release("r"), "v1", ["default"]))
    assert here.bring("start", [UNIT]), here.journal(UNIT)
    with here.client() as client:
        for number in range(etas):
            client.send_task("fleet.drill", ["r", 100 + number, "eta", 0], queue="default", countdown=300)
        for number, seconds in enumerate(sleeps):
            client.send_task("fleet.drill", ["r", number, "io", seconds], queue="default")
    deadline = time.monotonic() + PATIENCE
    while not here.entries("r") or etas > held(here):
        assert time.monotonic() < deadline, here.journal(UNIT)
        time.sleep(0.05)
    return [Sent(number, "io", "default", 0.0) for number in range(len(sleeps))]


def held(here: Machine) -> int:
    with here.redis() as redis:
        return int(redis.hlen("unacked"))


def waiting(here: Machine) -> int:
    with here.redis() as redis:
        return int(redis.llen("default"))


def report(here: Machine) -> DrainReport:
    report: DrainReport = json.loads((here.root / "run/celery-web-1/drain.json").read_text())
    return report


@pytest.mark.parametrize("pool", [pytest.param(pool, marks=pytest.mark.long) for pool in ("prefork", "gevent")] + ["threads"])
def test_what_it_holds_is_finished_and_what_waits_goes_back(here: Machine, pool: str) -> None:
    sent = begin(here, pool, [2.0] * 4 + [0.1] * 8, etas=3)
    here.stop([UNIT])
    drained = report(here)
    assert (drained["outcome"], drained["running"], drained["reserved"], drained["eta"]) == ("idle", {}, 0, 3), drained
    assert drained["summary"].endswith("3 with an ETA go back to the queue")
    account = here.account("r", sent)
    assert account.run_twice == ()
    # Each task has ended, or waits for another worker; none is held by nobody.
    assert (account.finished + waiting(here), held(here)) == (len(sent) + 3, 0)


@pytest.mark.long
def test_what_takes_too_long_gets_its_sigterm_and_is_still_finished(here: Machine) -> None:
    here.drain_seconds = 3
    sent = begin(here, "prefork", [15.0] * 2, etas=0)
    assert until(lambda: len(here.entries("r")) == 2), "both have begun"
    here.stop([UNIT])
    drained = report(here)
    assert (drained["outcome"], drained["running"]) == ("timeout", {"fleet.drill": 2})
    assert "2 × fleet.drill still running" in drained["summary"]
    account = here.account("r", sent)
    assert (account.lost, account.run_twice) == ((), ())


@pytest.mark.long
def test_a_worker_that_cannot_answer_is_drained_by_sigterm(here: Machine) -> None:
    """solo answers between two tasks alone."""
    sent = begin(here, "solo", [12.0, 0.1], etas=0)
    here.stop([UNIT])
    drained = report(here)
    assert (drained["outcome"], drained["why"]) == ("silent", "no answer in 5 s")
    account = here.account("r", sent)
    assert (account.finished + waiting(here), account.run_twice, held(here)) == (2, (), 0)
