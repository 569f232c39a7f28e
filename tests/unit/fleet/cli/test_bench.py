"""`fleet bench`: real workers, and what becomes of the queues and the broker afterwards."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from fleet.cli.main import app
from fleet_node.protocol import BENCH_QUEUE, DRILL_ANNOUNCED
from tests.unit.fleet.cli.native_support import FLEET, project
from tests.unit.fleet_node.delivery.lease_support import until

SECONDS = ("--seconds", "1", "--task-seconds", "0.01")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "name an inventory, or say --local"),
        (("prod.py", "--local"), "name an inventory, or --local; not both"),
        (("prod.py", "--compare", "-c 1", "-c 2"), "--compare starts workers, so it is for --local"),
        (("--local", "--work", "noop,gpu"), "--work noop,gpu: gpu is none of noop, io, cpu"),
        (("--local", "--work", ","), "--work ,: nothing is none of noop, io, cpu"),
    ],
)
def test_arguments_that_do_not_go_together(words: tuple[str, ...], complaint: str) -> None:
    done = CliRunner().invoke(app, ["bench", *words])
    assert (done.exit_code, done.stdout, str(done.exception)) == (1, "", complaint)


@pytest.mark.long
def test_a_worker_that_does_not_come_up_says_why() -> None:
    done = CliRunner().invoke(app, ["bench", "--local", "--flags", "-P nothing"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "worker ended with 2: " in str(done.exception)
    assert "nothing" in str(done.exception)


@pytest.mark.long
def test_the_workers_of_a_fleet_are_measured_and_left_as_they_were(tmp_path: Path) -> None:
    with project(tmp_path) as made, made.here.redis() as redis:
        nobody = made.fleet("bench", "prod.py", "--yes", "--tasks", "10")
        assert (nobody.returncode, nobody.stderr) == (2, "no worker of web answers: fleet load says why\n")
        made.here.start(made.here.release("r"), queues=("default", "quiet"))
        done = made.fleet("bench", "prod.py", "--yes", "--work", "noop,io", "--json", *SECONDS)
        assert done.returncode == 0, done.stderr
        web = json.loads(done.stdout)["roles"]["web"]
        for kind in ("noop", "io"):
            steps = web[kind]["steps"]
            assert [step["lost"] + step["run_twice"] for step in steps] == [0] * len(steps)
            assert [step["finished"] for step in steps] == [step["tasks"] for step in steps]
        # Four slots of 10 ms carry 400 a second at most.
        assert 0 < web["io"]["carries_s"] <= 440
        at_once = made.fleet("bench", "prod.py", "--yes", "--work", "io", "--tasks", "60", *SECONDS)
        assert at_once.returncode == 0, at_once.stderr
        assert at_once.stdout.splitlines()[1].split()[:2] == ["web", "io"]
        assert sorted(redis.scan_iter(f"*{BENCH_QUEUE}*")) == []
        assert set(redis.scan_iter("fleet.drill*")) <= {DRILL_ANNOUNCED.encode()}, "the machine's own"


@pytest.mark.long
def test_ctrl_c_leaves_no_worker_no_redis_and_no_queue(tmp_path: Path) -> None:
    with project(tmp_path) as made, made.here.redis() as redis:
        made.here.start(made.here.release("r"), queues=("default", "quiet"))
        command = [FLEET, "bench", "prod.py", "--yes", "--work", "io", "--task-seconds", "5", "--tasks", "400"]
        running = subprocess.Popen(command, cwd=made.folder, env=made.environment, stdin=subprocess.DEVNULL)
        assert until(lambda: redis.llen(f"{BENCH_QUEUE}web") > 200)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        assert not redis.exists(f"{BENCH_QUEUE}web")
        # Workers note once a second what waits.
        assert until(lambda: not list(redis.scan_iter(f"*{BENCH_QUEUE}*"))), list(redis.scan_iter(f"*{BENCH_QUEUE}*"))
        # What was begun ends; the worker does its own work.
        client: Redis = redis
        assert until(lambda: client.hlen("unacked") == 0)


@pytest.mark.long
def test_flags_are_compared_in_turns() -> None:
    words = ["bench", "--local", "--work", "io", "--tasks", "40", "--rounds", "2", "--task-seconds", "0.1", "--json"]
    done = CliRunner().invoke(app, [*words, "--compare", "-P threads -c 2", "-P threads -c 8"])
    assert done.exit_code == 0, done.output
    (of,) = json.loads(done.stdout)
    assert len(of["tasks_s"]) == 2
    assert of["lost"] == 0
    # Four times the slots, and the tasks wait: it is not timing that is asserted, but which has more.
    assert of["ratio"]["least"] > 1
