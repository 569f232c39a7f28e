"""What a worker loads of us, in a real worker on a real Redis, with a socket in systemd's place."""

import json
import signal
import socket
import sys
from pathlib import Path

import pytest
from celery import Celery

from tests.unit.shop_support import PATIENCE, answering, environment_for, free_port, process

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("abstract", [False, True])
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
    redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    celery = [sys.executable, "-m", "celery", "-A", "shop.app", "worker", "-P", "solo", "--hostname=w@test", "--queues=ml"]
    celery += ["--without-gossip", "--without-mingle", "-I", "fleet_node.worker", "--loglevel=WARNING"]
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, environment[name])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, process(redis, tmp_path / "redis.log"):
        systemd.bind("\0" + address[1:] if abstract else address)
        systemd.settimeout(PATIENCE)
        answering(port)
        with process(celery, tmp_path / "worker.log", environment, tmp_path) as worker:
            assert systemd.recv(1000) == b"READY=1\nSTATUS=consuming as w@test", (tmp_path / "worker.log").read_text()
            with Celery() as client:
                answer = client.send_task("fleet.probe", ["hello"], queue="ml").get(timeout=PATIENCE)
                client.backend.client.close()
                told = client.control.inspect(destination=["w@test"], timeout=PATIENCE, limit=1).conf()["w@test"]
            assert answer == {"token": "hello", "release": "r1", "revision": "v1"}
            # In all three places that Celery reads it from, and what the app sets besides is still there.
            assert told["broker_transport_options"] == {"visibility_timeout": 840, "max_connections": 200}
            assert told["result_backend_transport_options"] == {"visibility_timeout": 840}
            assert told["visibility_timeout"] == 840
            worker.send_signal(signal.SIGTERM)
            assert systemd.recv(1000) == b"STOPPING=1\nSTATUS=draining (Warm)"
            assert worker.wait(PATIENCE) == 0
