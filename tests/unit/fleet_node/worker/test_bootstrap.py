"""A real worker on a real Redis tells systemd how it is; a socket stands in for systemd."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery

from fleet_node import gpu_watch
from fleet_node.gpu_watch import Device, Health
from tests.unit.process_support import Machine, machine
from tests.unit.shop_support import PATIENCE, answering, environment_for, free_port, process, redis_server

ROOT = Path(__file__).parents[4]


def heard(systemd: socket.socket, what: bytes) -> bytes:
    """The first message that contains `what`. Raises TimeoutError if the worker is silent for too long."""
    while what not in (message := systemd.recv(1000)):
        pass
    return message


@pytest.mark.parametrize("abstract", [pytest.param(False, marks=pytest.mark.long), True])
def test_systemd_hears_when_it_consumes_and_when_it_stops(
    tmp_path: Path, abstract: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    environment = environment_for(port, tmp_path / "shop.db")
    environment["PYTHONPATH"] += f":{ROOT}"
    environment |= {"FLEET_RELEASE": "r1", "FLEET_REVISION": "v1"}
    address = f"@fleet-{tmp_path.name}-{port}" if abstract else str(tmp_path / "notify")
    environment["FLEET_CELERY"] = json.dumps(
        {"broker_transport_options": {"visibility_timeout": 840}, "result_backend_transport_options": {"visibility_timeout": 840}}
    )
    environment["NOTIFY_SOCKET"] = address
    redis = redis_server(port, tmp_path)
    celery = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "shop.app",
        "worker",
        "-P",
        "solo",
        "-c",
        "1",
        "--hostname=w@test",
        "--queues=ml",
    ]
    celery += ["--without-gossip", "--without-mingle", "-I", "fleet_node.worker", "--loglevel=WARNING"]
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, environment[name])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, process(redis, tmp_path / "redis.log"):
        systemd.bind("\0" + address[1:] if abstract else address)
        systemd.settimeout(PATIENCE)
        answering(port)
        with process(celery, tmp_path / "worker.log", environment, tmp_path) as worker:
            assert heard(systemd, b"READY=1") == b"READY=1\nSTATUS=0/1 busy \xc2\xb7 0 done \xc2\xb7 queues ml"
            with Celery() as client:
                answer = client.send_task("fleet.probe", ["hello"], queue="ml").get(timeout=PATIENCE)
                client.backend.client.close()
                settings = client.control.inspect(destination=["w@test"], timeout=PATIENCE, limit=1).conf()["w@test"]
            assert answer == {"token": "hello", "release": "r1", "revision": "v1"}
            # In all three places that Celery reads it from, and what the app sets besides is still there.
            assert settings["broker_transport_options"].items() >= {"visibility_timeout": 840, "max_connections": 200}.items()
            assert settings["result_backend_transport_options"] == {"visibility_timeout": 840}
            assert settings["visibility_timeout"] == 840
            worker.send_signal(signal.SIGTERM)
            assert heard(systemd, b"STOPPING=1") == b"STOPPING=1\nSTATUS=draining (Warm)"
            assert worker.wait(PATIENCE) == 0


@contextmanager
def one_process(tmp_path: Path, **more: str) -> Iterator[tuple[Machine, subprocess.Popen[bytes], socket.socket]]:
    """A prefork worker with one slot, and the socket on which systemd hears it from READY on."""
    with machine(tmp_path) as here:
        here.pool, here.concurrency, here.more = "prefork", 1, more
        worker = here.start(here.release("r"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            address = here.runtime("celery-web@1.service") / "notify"
            address.unlink()
            systemd.bind(str(address))
            systemd.settimeout(PATIENCE)
            yield here, worker, systemd


@pytest.mark.long
def test_a_worker_that_begins_nothing_says_so_and_asks_for_its_restart(tmp_path: Path) -> None:
    with one_process(tmp_path, FLEET_STALL_TIMEOUT="2", FLEET_LOG="text") as (here, worker, systemd), here.client() as client:
        client.send_task("fleet.drill", ["r", 1, "io", 4], queue="default")  # longer than the timeout, but at work
        assert heard(systemd, b"STATUS=1/1 busy")
        assert heard(systemd, b"STATUS=0/1 busy \xc2\xb7 1 done")
        child = int(Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()[0])
        os.kill(child, signal.SIGSTOP)
        client.send_task("fleet.drill", ["r", 2, "io", 0], queue="default")
        message = heard(systemd, b"WATCHDOG=trigger").decode()
        assert re.search(r"STATUS=stalled: nothing has begun for \d+ s, with 1 reserved and 1 of 1 slots free", message)
        assert "<2>MainProcess stalled, to be restarted: nothing has begun" in here.output()


def devices(folder: Path, unavailable: dict[str, str]) -> None:
    """What fleet-gpu.service writes about two devices."""
    known = {name: Device(int(name), name, name) for name in ("0", "1")}
    gpu_watch.write(Health(known), unavailable, folder)


@pytest.mark.long
def test_one_that_may_fetch_nothing_because_of_its_etas_is_not_stalled(tmp_path: Path) -> None:
    with machine(tmp_path) as here, here.client() as client, here.redis() as redis:
        here.more = {"FLEET_STALL_TIMEOUT": "2"}
        worker = here.start(here.release("r", "app.conf.worker_eta_task_limit = 5\n"))
        for number in range(5):
            client.send_task("fleet.drill", ["r", number, "eta", 0], queue="default", countdown=12)
        while redis.hlen("unacked") < 5:
            pass
        later = client.send_task("fleet.probe", ["later"], queue="default", expires=300)
        assert later.get(timeout=PATIENCE)["token"] == "later"  # when the first of them have run
        assert "stalled" not in here.output()
        assert worker.poll() is None


@pytest.mark.long
def test_a_worker_whose_device_is_away_takes_nothing_and_ends_when_it_is_back(tmp_path: Path) -> None:
    devices(tmp_path, {})
    of_device = {
        "FLEET_GPU": "1",
        "FLEET_GPU_STATE": str(tmp_path / "state.json"),
        "FLEET_STALL_TIMEOUT": "2",
        "FLEET_LOG": "text",
    }
    with one_process(tmp_path, **of_device) as (here, worker, systemd), here.client() as client, here.redis() as redis:
        devices(tmp_path, {"0": "another one"})
        assert client.send_task("fleet.probe", ["here"], queue="default").get(timeout=PATIENCE)["token"] == "here"
        devices(tmp_path, {"1": "Xid 79: it has fallen off the bus"})
        assert heard(systemd, "STATUS=its device is away (Xid 79: it has fallen off the bus) · 0/1 busy · 1 done".encode())
        inspect = client.control.inspect(destination=["web-worker-1@test"], timeout=PATIENCE, limit=1)
        while inspect.active_queues()["web-worker-1@test"]:
            pass
        waiting = client.send_task("fleet.probe", ["later"], queue="default")
        heard(systemd, b"WATCHDOG=1")
        heard(systemd, b"WATCHDOG=1")  # it has looked again meanwhile, and is no stalled worker
        assert redis.llen("default") == 1
        devices(tmp_path, {})
        assert worker.wait(PATIENCE) == 0
        assert "<2>MainProcess takes nothing more: its device is away: Xid 79" in here.output()
        devices(tmp_path, {"1": "again"})
        second = here.start(here.root / "releases" / "r")  # ready all the same: a deploy need not wait for a device
        soon = client.control.inspect(destination=["web-worker-1@test"], timeout=2, limit=1)
        while (queues := soon.active_queues()) is None:  # it listens a moment after it is ready
            pass
        assert queues == {"web-worker-1@test": []}
        devices(tmp_path, {})
        assert second.wait(PATIENCE) == 0
        here.start(here.root / "releases" / "r")
        assert waiting.get(timeout=PATIENCE)["token"] == "later"


@pytest.mark.long
def test_a_drain_asks_for_time_as_long_as_it_may(tmp_path: Path) -> None:
    with (
        one_process(tmp_path, FLEET_STALL_TIMEOUT="8", FLEET_LONGEST_STOP="60") as (here, worker, systemd),
        here.client() as client,
    ):
        client.send_task("fleet.drill", ["r", 1, "io", 6], queue="default")
        assert heard(systemd, b"STATUS=1/1 busy")
        worker.send_signal(signal.SIGTERM)
        assert heard(systemd, b"EXTEND_TIMEOUT_USEC=10000000")
        assert heard(systemd, b"EXTEND_TIMEOUT_USEC=10000000")  # the timer of the worker itself has stopped
        assert worker.wait(PATIENCE) == 0
