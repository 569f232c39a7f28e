"""Every worker is named rightly, whatever has happened to it. What needs systemd or a network of its own is tried on a lab."""

import signal
from pathlib import Path

import pytest

from tests.unit.fleet.observe.observe_support import look, worker
from tests.unit.fleet_node.delivery.lease_support import begun, kill, leased, send, until
from tests.unit.process_support import pools

SOON = 10
"""Seconds in which it has to be named."""

pytestmark = [pytest.mark.usefixtures("app_folder"), pytest.mark.long]
POOLS = pools("prefork", "threads", "gevent", "solo")


@POOLS
def test_idle_busy_and_full(tmp_path: Path, pool: str) -> None:
    slots = 1 if pool == "solo" else 2
    with leased(tmp_path, pool, lease=60) as here, here.client() as client:
        here.concurrency = slots
        here.start(here.release("r"))
        assert until(lambda: worker(here).state == "idle", SOON)
        idle = worker(here)
        assert (idle.active, idle.slots, idle.utilisation, idle.queues) == (0, slots, 0.0, ("default",))
        assert idle.heard_s["sign"] == 0.0
        assert idle.heard_s["connection"] is not None
        for number in range(slots):
            send(client, number, 25)
        send(client, 99, 0)
        assert until(lambda: len(begun(here)) == slots)
        assert until(lambda: worker(here).state == "busy" and worker(here).active == slots, SOON + 5)
        assert worker(here).utilisation == 100.0
        (role,) = look(here).roles
        assert (role.workers, role.well, role.active, role.slots) == (1, 1, slots, slots)


@POOLS
def test_a_worker_that_is_stopped_or_killed(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool, lease=60) as here:
        process = here.start(here.release("r"))
        assert until(lambda: worker(here).state == "idle", SOON)
        process.send_signal(signal.SIGSTOP)
        assert until(lambda: worker(here).state == "stopped", SOON)
        process.send_signal(signal.SIGCONT)
        assert until(lambda: worker(here).state == "idle", SOON)
        kill(here)
        assert until(lambda: worker(here).state == "dead", SOON)


def test_a_worker_that_consumes_nothing_and_one_that_drains(tmp_path: Path) -> None:
    with leased(tmp_path, lease=60) as here, here.client() as client:
        here.start(here.release("r"))
        assert until(lambda: worker(here).state == "idle", SOON)
        client.control.cancel_consumer("default", reply=True)
        assert until(lambda: worker(here).state == "ghost", SOON)
        client.control.add_consumer("default", reply=True)
        assert until(lambda: worker(here).state == "idle", SOON)
        send(client, 0, 15)
        assert until(lambda: begun(here))
        client.control.broadcast("fleet_drain", reply=True)
        assert until(lambda: worker(here).state == "draining", SOON)
        assert worker(here).running == {"fleet.drill": 1}


def test_a_broker_that_is_away(tmp_path: Path) -> None:
    with leased(tmp_path, lease=60) as here:
        here.start(here.release("r"))
        assert until(lambda: worker(here).state == "idle", SOON)
        with here.redis() as redis:
            redis.shutdown(nosave=True)
        assert until(lambda: worker(here).state == "cut off", SOON)
        load = look(here)
        assert "the broker does not answer" in load.problem


def test_one_silent_worker_does_not_hide_the_others(tmp_path: Path) -> None:
    with leased(tmp_path, lease=60) as here:
        release = here.release("r")
        here.start(release, 1)
        stopped = here.start(release, 2)
        assert until(lambda: [worker.state for worker in look(here, 2).workers] == ["idle", "idle"], SOON)
        stopped.send_signal(signal.SIGSTOP)
        assert until(lambda: [worker.state for worker in look(here, 2).workers] == ["idle", "stopped"], SOON)
        stopped.kill()


def test_a_worker_that_no_setting_asks_for(tmp_path: Path) -> None:
    with leased(tmp_path, lease=60) as here:
        release = here.release("r")
        here.start(release, 1)
        here.start(release, 2)
        assert until(lambda: [(worker.node, worker.expected) for worker in look(here).workers][1:], SOON)
        assert [(worker.node, worker.expected) for worker in look(here).workers] == [
            ("web-worker-1@test", True),
            ("web-worker-2@test", False),
        ]
