"""`fleet load`, `fleet queues` and `fleet status`: the machines are an sshd on loopback, the workers run here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet_node.protocol import AGES, CONSUMED, PARKED, SIGNS
from tests.unit.fleet.cli.native_support import Project, project
from tests.unit.fleet_node.delivery.lease_support import begun, ended, send, until
from tests.unit.process_support import ROOT
from tests.unit.shop_support import process

pytestmark = pytest.mark.long


def test_the_load_of_a_fleet(started: Project) -> None:
    node = f"web-worker-1@{started.here.hostname}"
    done = started.fleet("load", "prod.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split()[:3] == [node, "idle", "0/4"]
    with started.here.client() as client:
        for number in range(6):
            send(client, number, 20)
        assert until(lambda: len(begun(started.here)) == 4)
    load = started.json("load", "prod.py")
    worker = load["workers"][node]
    assert (worker["state"], worker["active"], worker["slots"], worker["utilisation"]) == ("busy", 4, 4, 100.0)
    assert (worker["heard_s"], worker["running"]) == (0.0, {"fleet.drill": 4})
    assert (load["roles"]["web"]["active"], load["roles"]["web"]["slots"]) == (4, 4)
    assert load["advice"] == [] or "raise concurrency" in load["advice"][0]
    done = subprocess.run(
        [sys.executable, "-c", "from fleet.observe import load\nfor _ in range(2): print(len(load('prod.py')['workers']))"],
        cwd=started.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("1\n1\n", "")


def test_the_queues_of_a_fleet(started: Project) -> None:
    with started.here.client() as client:
        for number in range(4):
            send(client, number, 30)
        assert until(lambda: len(begun(started.here)) == 4)
        for number in range(10, 20):
            send(client, number, 0)
        send(client, 30, 0, countdown=600)
        for number in range(40, 45):
            send(client, number, 0, queue="nobody")
        found = started.json("queues", "prod.py")["queues"]
        default, quiet = found["default"], found["quiet"]
        held = default["in_flight"]
        assert held["running"] == 4
        assert default["waiting"] + held["prefetched"] + held["eta"] == 11
        assert (default["consumers"], default["expected_consumers"], default["min_consumers"]) == (1, 1, 1)
        assert default["out_per_s"] == 0.0
        assert default["oldest_s"] is not None and default["oldest_s"] < 30
        assert default["drained_s"] is None
        nobody = found["nobody"]
        assert (nobody["waiting"], nobody["consumers"], nobody["expected_consumers"]) == (5, 0, 0)
        assert nobody["oldest_bounds_s"] == [0.0, None]
        assert (quiet["waiting"], quiet["oldest_s"], quiet["consumers"]) == (0, None, 1)
        text = started.fleet("queues", "prod.py", "--seconds", "0")
        assert text.returncode == 1, "nobody consumes what waits"
        assert text.stdout.splitlines()[1].split()[0] == "default"


def in_flight(started: Project) -> dict[str, Any]:
    """What `fleet queues` says that the workers of the default queue hold."""
    held: dict[str, Any] = started.json("queues", "prod.py", "--seconds", "0")["queues"]["default"]["in_flight"]
    return held


def test_rates_and_what_a_dead_worker_holds(started: Project) -> None:
    with started.here.client() as client:
        for number in range(100):  # for as long as a command may take to start on a busy machine
            send(client, number, 0.4)
        default = started.json("queues", "prod.py", "--seconds", "2")["queues"]["default"]
        assert default["out_per_s"] > 1
        assert default["in_per_s"] < default["out_per_s"]
        assert default["waiting"] == 0 or default["drained_s"] is not None
        for number in range(100, 103):
            send(client, number, 60)
        assert until(lambda: {100, 101, 102} <= begun(started.here).keys() and ended(started.here) == set(range(100)))
        assert until(lambda: in_flight(started)["running"] == 3), "the short tasks are acknowledged"
        worker = started.here.running.pop("celery-web@1.service")
        worker.kill()
        worker.wait()
        assert until(lambda: started.json("queues", "prod.py", "--seconds", "0")["queues"]["default"]["consumers"] == 0)
        done = started.fleet("queues", "prod.py", "--json")
        assert done.returncode == 1, "nobody consumes it"
        held = json.loads(done.stdout)["queues"]["default"]["in_flight"]
        assert held["orphaned"] == 3
        assert 0 < held["orphaned_back_s"] <= 60


def test_the_status_of_a_fleet(started: Project) -> None:
    """This machine is none that was deployed."""
    done = started.fleet("status", "prod.py")
    assert done.returncode == 1, done.stderr
    assert "as asked: no, 2 of 2 machines" in done.stdout
    assert "web1: write " in done.stdout
    assert "working: yes, 1 of 1 workers" in done.stdout
    assert "last run: none" in done.stdout
    found = started.json("status", "prod.py")
    assert (found["as_asked"], found["working"], found["lock"], found["last_run"]) == (False, True, None, None)


def test_the_status_of_beat(tmp_path: Path) -> None:
    """No unit of systemd's runs here."""
    (tmp_path / "here").mkdir()
    with project(tmp_path, machines={"web1": "web", "beat1": "beat"}) as made:
        assert made.json("status", "prod.py")["beat"] == {
            "leader": None,
            "since": None,
            "standbys": [],
            "problems": [
                "beat1: celery-beat.service does not run",
                "no beat leads: nothing of the schedule is sent",
            ],
        }
        release = made.here.release("r")
        environment = {**made.here.environment, "PYTHONPATH": f"{release}:{ROOT}"}
        command = [sys.executable, "-m", "fleet_node.beat", "jobs", "--node", "beat@beat1"]
        with process(command, tmp_path / "beat.log", environment, tmp_path):
            assert until(lambda: made.json("status", "prod.py")["beat"]["leader"] == "beat1")
            done = made.fleet("status", "prod.py")
        assert done.returncode == 1
        assert "beat: beat1 leads since 20" in done.stdout


def test_others_words_in_the_broker(started: Project) -> None:
    """Names that would move the cursor, and entries that the fleet has not written."""
    hostile = ("esc\x1b]0;title\x07", "new\nline", "[/", "\u202etxet", "long" * 3000, "half \ud800")
    with started.here.redis() as redis:
        redis.zadd(CONSUMED, {"not JSON": 1, "[5]": 1, **{json.dumps([name, name]): 1 for name in hostile}})
        redis.hset(AGES, mapping={b"\xff": "not JSON", "other": "[]"})
        redis.hset(SIGNS, mapping={"x|b|1|2|t": '{"node": "x", "at": 1}', "y|b|1|2|t": "[" * 5000})
        redis.hset(PARKED, mapping={"a": "[]", "b": '{"queue": []}', "c": json.dumps({"queue": hostile[0]})})
        for name in hostile[:-1]:
            redis.rpush(name, json.dumps({"headers": {"task": name}}))
    for words in (("load",), ("record", "--for", "0"), ("queues", "--seconds", "0")):
        done = started.fleet(words[0], "prod.py", *words[1:])
        assert done.returncode == (1 if words[0] == "queues" else 0), done.stderr
        assert not set("\x1b\x07\u202e") & set(done.stdout + done.stderr)
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + len(("default", "quiet", *hostile[:-1])), done.stdout
    assert max(map(len, lines)) < 250


@pytest.mark.parametrize("command", ["load", "queues", "status"])
def test_a_broker_that_is_away(started: Project, command: str) -> None:
    with started.here.redis() as redis:
        redis.shutdown(nosave=True)
    done = started.fleet(command, "prod.py")
    assert done.returncode == (2 if command == "queues" else 1)
    assert "the broker does not answer" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["load", "queues", "status"])
def test_a_wrong_password(started: Project, command: str) -> None:
    (started.folder / "s.env").write_text("BROKER_WORKER_PASSWORD=wrong\nBROKER_MONITOR_PASSWORD=wrong\n")
    done = started.fleet(command, "prod.py")
    assert done.returncode in (1, 2)
    assert "invalid username-password pair" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["load", "queues", "status"])
def test_settings_that_are_wrong(started: Project, command: str) -> None:
    (started.folder / "group_data" / "web.py").write_text("web_worker = {'queues': []}\n")
    done = started.fleet(command, "prod.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert "web_worker.queues" in done.stderr


def test_no_worker_at_all_and_a_machine_that_is_down(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with project(tmp_path, down=True) as made:
        done = made.fleet("load", "prod.py")
        assert done.returncode == 1, done.stderr
        assert "web2 does not answer: ssh: connect to host 127.0.0.1 port 9: Connection refused" in done.stdout
        assert "web: no worker is well" in done.stdout
        load = made.json("load", "prod.py")
        assert [worker["state"] for worker in load["workers"].values()] == ["dead", "dead"]
        assert made.fleet("queues", "prod.py").returncode == 1


def test_a_full_redis(started: Project) -> None:
    with started.here.redis() as redis:
        redis.config_set("maxmemory", 500_000)
        done = started.fleet("load", "prod.py")
        assert done.returncode == 1
        assert "the broker is full" in done.stdout
        assert "Traceback" not in done.stderr
        assert " idle " not in done.stdout
        done = started.fleet("queues", "prod.py", "--seconds", "0")
        assert done.returncode == 1
        assert "the workers were not asked: " in done.stderr
        assert "Traceback" not in done.stderr
        redis.config_set("maxmemory", 0)
