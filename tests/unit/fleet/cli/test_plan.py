"""`fleet plan`: by numbers that are given, and by what a fleet does."""

import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fleet.cli.main import app
from tests.unit.fleet.cli.native_support import GROUP_DATA, Project, project
from tests.unit.fleet_node.delivery.lease_support import ended, send, until
from tests.unit.fleet_support import make_app


def plan(*words: str) -> Result:
    return CliRunner().invoke(app, ["plan", *words])


def test_a_hundred_tasks_a_second_of_a_second_each() -> None:
    done = plan("--rate", "100", "--service-time", "1", "--concurrency", "8", "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert (printed["slots"], printed["workers"]) == (100, 13)
    assert printed["one_fewer"]["waits_s"]["0.95"] is None, "12 workers of 8 cannot keep up"
    assert printed["serving"]["utilisation"] == pytest.approx(100 * 1.002 / 104, abs=1e-4), "a worker holds a slot for 2 ms more"


def test_an_objective_and_a_worker_that_may_be_away() -> None:
    done = plan("--rate", "100", "--service-time", "1", "--objective", "0.5", "--headroom", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "100 tasks a second × 1 s: 100 slots are busy on average",
        "a worker itself takes 8 ms to begin a task and 2 ms between two, which counts here",
        "for 95% to wait 0.5 s at most: 14 workers of 8 slots, 89% busy, 0.093 s",
        "13 workers would not do: 96% busy, 0.67 s",
        "1 worker may be away, in a step of a rollout or with a lost machine: 15 in all",
        "",
        "WORKERS  BUSY  95% WAIT",
        "12       104%  without end",
        f"13       96%   0.67 s       {'█' * 40}",
        f"14       89%   0.093 s      {'█' * 6:40}  enough",
        f"15       84%   0.008 s      {'█':40}  with headroom",
        "16       78%   0.008 s      █",
    ]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--rate", "0", "--service-time", "1"), "rate: 0, and it has to be more than 0"),
        (("--rate", "1", "--service-time", "-1"), "service-time: -1, and it has to be more than 0"),
        (("--rate", "1", "--service-time", "1", "--concurrency", "-2"), "concurrency: -2, and it has to be more than 0"),
        (("--rate", "1", "--service-time", "1", "--objective", "0"), "objective: 0, and it has to be more than 0"),
        (("--rate", "1", "--service-time", "1", "--objective", "0.005"), "a worker takes some 0.008 s to begin a task"),
        (
            ("--rate", "1", "--service-time", "1", "--objective", "1", "--share", "95"),
            "share: 95, and it has to be between 0 and 1",
        ),
        (("--rate", "1", "--service-time", "1", "--spread", "-1"), "spread: less than 0"),
        (("--rate", "1000000", "--service-time", "10"), "No fleet of one broker has more than 100,000 slots"),
        (("--rate", "1"), "say what comes, and how long it runs"),
    ],
)
def test_what_cannot_be_planned_is_one_line(words: tuple[str, ...], complaint: str) -> None:
    done = plan(*words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert complaint in str(done.exception)
    assert "\n" not in str(done.exception)


def test_tasks_of_several_kinds_are_assumed() -> None:
    done = plan("--assume", "rate=30,time=0.1,spread=0", "--assume", "rate=1,time=9", "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert (printed["rate"], printed["load"], printed["slots"]) == (31, 12, 12)
    assert printed["spread"] > 20, "a few tasks are ninety times as long as the rest"


def test_what_would_be_otherwise_is_a_row_each() -> None:
    done = plan("--rate", "20", "--service-time", "1", "--what-if", "growth=2", "--what-if", "concurrency=16,growth=1.5")
    assert done.exit_code == 0, done.output
    assert [re.sub(" +", " ", line) for line in done.stdout.splitlines()[-4:]] == [
        "WHAT IF WORKERS BUSY 95% WAIT NEEDED",
        "as it is 3 of 8 84% 0.44 s 3 of 8",
        "growth=2 3 of 8 167% without end 6 of 8",
        "concurrency=16,growth=1.5 3 of 16 63% 0.008 s 2 of 16",
    ]
    refused = plan("--rate", "20", "--service-time", "1", "--what-if", "machines=3")
    assert (refused.exit_code, str(refused.exception)) == (
        1,
        "--what-if machines=3: machines needs an inventory, whose roles are sized for it",
    )


@pytest.fixture
def planned_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The inventory of a fleet that is only planned: none of its machines is there."""
    make_app(tmp_path)
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text('celery_app, app_source, slo = "shop.app", "app", {"pages": 1}\n')
    for role, queues, workload in (("web", ["web", "pages"], "io"), ("batch", ["batch"], "cpu")):
        worker = {"queues": queues, "workload": workload, "min_consumers": 1}
        (tmp_path / "group_data" / f"{role}.py").write_text(f"{role}_worker = {worker}\n")
    hosts = 'broker, web, batch = [("broker1", {"lan_address": "192.0.2.1"})], ["web1"], ["batch1", "batch2"]\n'
    (tmp_path / "prod.py").write_text(hosts)
    monkeypatch.chdir(tmp_path)
    return "prod.py"


@pytest.mark.long
def test_a_fleet_is_planned_before_there_is_one(planned_fleet: str, tmp_path: Path) -> None:
    machine = ("--assume", "cores=4,memory=8G")
    loads = (
        "--assume",
        "queue=web,rate=1000,time=0.5",
        "--assume",
        "queue=pages,rate=0",
        "--assume",
        "queue=batch,rate=9,time=1,spread=0",
    )
    done = plan(planned_fleet, *machine, *loads, "--what-if", "machines=3", "--chart", str(tmp_path / "waits.svg"), "--json")
    assert done.exit_code == 1, "web has too few workers"
    roles = json.loads(done.stdout)["roles"]
    web, batch = roles["web"], roles["batch"]
    assert (web["slots"], web["lacks"], batch["slots"], batch["lacks"]) == (500, web["workers"] - 4, 9, batch["workers"] - 2)
    assert web["what_if"]["machines=3"]["there"]["workers"] == 12
    assert web["connections"] == web["workers"] * 220
    assert (tmp_path / "waits.svg").read_text().count("you are here") == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--assume", "queue=wbe,rate=1,time=1"), "no role consumes the queue wbe; did you mean web?"),
        (("--assume", "queue=web,rate=1,time=1"), "the same workers serve pages"),
        (("--role", "wbe"), "--role: no role wbe; did you mean web?"),
        (("--what-if", "machine=2"), "machine is unknown; did you mean machines?"),
    ],
)
def test_what_a_fleet_does_not_have(planned_fleet: str, words: tuple[str, ...], complaint: str) -> None:
    done = plan(planned_fleet, "--assume", "cores=4,memory=8G", *words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert complaint in str(done.exception)


def test_a_fleet_of_which_no_machine_answers(planned_fleet: str) -> None:
    hosts = Path(planned_fleet)
    hosts.write_text(hosts.read_text().replace('["web1"], ["batch1", "batch2"]', '["web1.invalid"], []'))
    done = plan(planned_fleet)
    assert done.exit_code == 1
    assert "web1.invalid does not answer" in done.stderr
    assert str(done.exception) == "no machine with workers is known; say what they are: --assume cores=8,memory=16G"


@contextmanager
def steady(made: Project, rate: float, seconds: float) -> Iterator[None]:
    """Tasks that come one after the other while the context lasts."""
    stop = threading.Event()

    def run() -> None:
        number = 0
        with made.here.client() as client:
            while not stop.wait(1 / rate):
                number += 1
                send(client, number, seconds)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.long
def test_a_fleet_is_planned_by_what_it_does(tmp_path: Path) -> None:
    group_data = {"all": GROUP_DATA["all"] + 'slo = {"default": 0.2, "quiet": 60}\n'}
    with project(tmp_path, group_data=group_data) as made:
        nothing = made.fleet("plan", "prod.py", "--seconds", "1")
        assert (nothing.returncode, nothing.stdout) == (1, "web: not planned: no worker of it answers: fleet load says why\n")
        made.here.start(made.here.release("r"), queues=("default", "quiet"))
        idle = made.fleet("plan", "prod.py", "--seconds", "1")
        assert idle.stdout.startswith("web: not planned: nothing came to default, quiet in 1 s: look for longer")
        with steady(made, 10, 0.2):
            assert until(lambda: len(ended(made.here)) > 30)
            done = made.fleet("plan", "prod.py", "--seconds", "5", "--json")
            more = made.fleet("plan", "prod.py", "--seconds", "5", "--growth", "8")
        web = json.loads(done.stdout)["roles"]["web"]
        # A busy machine sends and runs slower, and is planned by that.
        assert 0 < web["rate"] < 12 and web["service_time_s"] >= 0.2
        assert web["load"] == pytest.approx(web["rate"] * web["service_time_s"], abs=0.001)
        assert (web["slots"], web["now"]["workers"], web["now"]["slots"]) == (math.ceil(web["load"]), 1, 4)
        assert more.returncode == 1
        assert re.fullmatch(r"  \d workers? more, \d+ MB", more.stdout.splitlines()[-1]), more.stdout
