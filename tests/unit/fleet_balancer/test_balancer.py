"""The balancer as it runs on the monitor's machine: with Debian's Python, against a real Redis and real workers."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.unit.fleet_node.delivery.lease_support import begun, ended, leased, send, twice, until
from tests.unit.process_support import ROOT, Machine
from tests.unit.shop_support import free_port

pytestmark = pytest.mark.long
DEBIAN = "/usr/bin/python3"
OLD = """
from fleet_node.worker import sign
age = sign.age
sign.age = lambda: age() + 3600
"""
"""Workers that were started an hour ago."""
WEB, BATCH = "web-worker-1@web1", "batch-worker-1@batch1"
TERMS = [
    {"name": "web", "queues": ["default"], "objective": 1.0, "nodes": [WEB], "takes": [], "refused": {}, "spare": 0},
    {"name": "batch", "queues": ["reports"], "objective": 60.0, "nodes": [BATCH], "takes": ["web"], "refused": {}, "spare": 0},
]


@contextmanager
def balancer(here: Machine, folder: Path, **more: Any) -> Iterator[None]:
    """One that runs, with what a deploy writes in `folder`, and its log. more: of its settings. It ends in order."""
    folder.mkdir(exist_ok=True)
    workers = [{"nodes": [node], "role": node.split("-")[0], "host": node.split("@")[1]} for node in (WEB, BATCH)]
    queues = {name: {"consumers": 1, "minimum": 1, "objective": None} for name in ("default", "reports")}
    (folder / "fleet.json").write_text(json.dumps({"lease": 60, "workers": workers, "queues": queues, **more}))
    (folder / "terms.json").write_text(json.dumps(TERMS))
    (folder / "broker-url").write_text(f"{here.environment['CELERY_BROKER_URL']}\n")
    environment = os.environ | {"CREDENTIALS_DIRECTORY": str(folder), "STATE_DIRECTORY": str(folder), "PORT": str(free_port())}
    command = [
        DEBIAN,
        "-m",
        "fleet_balancer",
        str(folder / "fleet.json"),
        str(folder / "terms.json"),
        "--port",
        environment["PORT"],
    ]
    (folder / "port").write_text(environment["PORT"])
    with (folder / "log").open("w") as log, subprocess.Popen(command, env=environment, cwd=ROOT, stderr=log) as started:
        try:
            yield
        finally:
            started.send_signal(signal.SIGTERM)
            assert started.wait(20) == 0


def moves(folder: Path) -> list[dict[str, Any]]:
    file = folder / "moves.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def metrics(folder: Path) -> str:
    with urlopen(f"http://127.0.0.1:{(folder / 'port').read_text()}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def workers(here: Machine) -> set[str]:
    return {node for nodes in begun(here).values() for node in nodes}


def test_it_lends_an_idle_worker_out_and_writes_that_down(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with leased(tmp_path / "here", lease=60) as here, here.client() as client:
        release = here.release("r", OLD)
        batch = Machine(tmp_path / "batch", here.port, more=here.more, role="batch", hostname="batch1")
        try:
            here.hostname = "web1"
            here.start(release)
            batch.start(release, queues=("reports",))
            with balancer(here, folder := tmp_path / "balancer"):
                for number in range(300):
                    send(client, number, 0.5)
                assert until(lambda: workers(here) == {WEB, BATCH}, 90)
                assert until(lambda: ended(here) == set(range(300)), 60)
                assert until(lambda: 'fleet_balance_lent_workers{roles="web"} 1.0' in metrics(folder), 30)
                text = metrics(folder)
            assert not twice(here)
        finally:
            batch.end()
    (move,) = moves(folder)
    assert (move["who"].split("@")[0], move["outcome"], move["errors"]) == ("fleet-balance", "done", [])
    assert move["what"].startswith("lent to web: its tasks wait")
    assert move["notes"][1] == f"  {BATCH}: consumes default too, for 5 min"
    assert f"{BATCH}: consumes default too" in (folder / "log").read_text()
    assert 'fleet_balance_moves_total{kind="lend",roles="web"} 1.0' in text
    assert "fleet_balance_last_look_timestamp_seconds 1" in text


def test_a_broker_that_is_away_is_said_once_and_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "balancer"
    with leased(tmp_path, lease=60) as here, balancer(here, folder):
        assert until(lambda: is_up(folder) and "fleet_balance_last_look_timestamp_seconds 1" in metrics(folder), 30)
        with here.redis() as redis:
            redis.execute_command("CLIENT", "PAUSE", "30000", "ALL")
        assert until(lambda: "TimeoutError: " in (folder / "log").read_text(), 30)
        assert until(lambda: "the broker answers again" in (folder / "log").read_text(), 60)
    assert len((folder / "log").read_text().splitlines()) == 2


def is_up(folder: Path) -> bool:
    try:
        return bool(metrics(folder))
    except OSError:
        return False


def test_files_that_are_not_ours_end_it(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text("{}")
    command = [DEBIAN, "-m", "fleet_balancer", str(tmp_path / "fleet.json"), "missing.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "fleet.json" in done.stderr
