"""A primary and a replica with three sentinels, none of them the fleet's: workers and commands follow a failover."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from fleet.drill.reached import reached
from fleet.inventory.read import read_inventory
from fleet.spec.load import load_fleet
from tests.unit.fleet.cli.native_support import GROUP_DATA, PASSWORDS, Project, project
from tests.unit.fleet_balancer.test_balancer import OLD, balancer, is_up, metrics, moves
from tests.unit.fleet_node.delivery.lease_support import until
from tests.unit.process_support import Machine
from tests.unit.shop_support import answering, free_port, process, redis_server

pytestmark = pytest.mark.long

NAME = "shop-primary"
ALL = GROUP_DATA["all"] + f'broker = {{"url": "@BROKER_URL", "master_name": "{NAME}"}}\n'
PASSWORD = PASSWORDS["WORKER"]
NAP = """
import time

@app.task(name="nap")
def nap(seconds): time.sleep(seconds)
"""


@dataclass
class Sentinels:
    """What they watch. primary: its process."""

    ports: list[int]
    primary: Popen[bytes]
    replica: int

    @property
    def url(self) -> str:
        first, *others = (f"127.0.0.1:{port}/0" for port in self.ports)
        return ";".join([f"sentinel://:{PASSWORD}@{first}", *(f"sentinel://{other}" for other in others)])


@contextmanager
def sentinels(folder: Path) -> Iterator[Sentinels]:
    """Two Redis and three sentinels, which take a Redis for gone after two seconds."""
    ports, watching = [free_port(), free_port()], [free_port() for _ in range(3)]
    with ExitStack() as stack:

        def start(name: str, command: list[str], port: int) -> Any:
            started = stack.enter_context(process(command, folder / f"{name}.log"))
            answering(port)
            return started

        secret = ["--masterauth", PASSWORD, "--save", "", "--repl-diskless-sync-delay", "0"]
        processes = []
        for number, port in enumerate(ports):
            more = ["--replicaof", "127.0.0.1", str(ports[0])] if number else []
            (folder / str(port)).mkdir(parents=True)
            processes.append(start(f"redis{number}", redis_server(port, folder / str(port), *secret, *more), port))
            with Redis(port=port) as redis:
                redis.config_set("requirepass", PASSWORD)
        with Redis(port=ports[1], password=PASSWORD) as replica:
            assert until(lambda: replica.info("replication")["master_link_status"] == "up")
        for port in watching:
            settings = folder / f"sentinel{port}.conf"
            settings.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor {NAME} 127.0.0.1 {ports[0]} 2\n"
                f"sentinel auth-pass {NAME} {PASSWORD}\nsentinel down-after-milliseconds {NAME} 2000\n"
            )
            start(f"sentinel{port}", ["redis-server", str(settings), "--sentinel"], port)
        with Redis(port=watching[0], decode_responses=True) as sentinel:

            def know_each_other() -> bool:
                known: Any = sentinel.sentinel_masters()
                return (known[NAME]["num-other-sentinels"], known[NAME]["num-slaves"]) == (2, 1)

            assert until(know_each_other)
        yield Sentinels(watching, processes[0], ports[1])


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Project, Sentinels]]:
    """A fleet whose broker is found by sentinels."""
    (tmp_path / "here").mkdir()
    with sentinels(tmp_path / "redis") as there, project(tmp_path, external=True, group_data={"all": ALL}) as made:
        (made.folder / "s.env").write_text(f"BROKER_URL={there.url}\n")
        here = made.here
        here.more["CELERY_BROKER_URL"] = here.more["CELERY_RESULT_BACKEND"] = there.url
        options = {"master_name": NAME}
        here.more["FLEET_CELERY"] = json.dumps(
            {"lease": 60, "broker_transport_options": options, "result_backend_transport_options": options}
        )
        yield made, there


def test_workers_and_commands_follow_a_failover(watched: tuple[Project, Sentinels], monkeypatch: pytest.MonkeyPatch) -> None:
    made, there = watched
    made.here.start(made.here.release("r"), queues=("default", "quiet"))
    (worker,) = made.json("load", "prod.py")["workers"].values()
    assert worker["state"] == "idle"
    there.primary.kill()
    there.primary.wait()
    assert until(lambda: made.fleet("queues", "prod.py", "--seconds", "0").returncode == 0, 60), "the replica is the primary"
    with Redis(port=there.replica, password=PASSWORD) as primary:
        assert primary.info("replication")["role"] == "master"
    assert until(lambda: made.json("queues", "prod.py", "--seconds", "0")["queues"]["default"]["consumers"] == 1)
    monkeypatch.chdir(made.folder)
    inventory = read_inventory(Path("prod.py"))
    with reached(inventory, load_fleet(inventory)) as of_drill:
        assert of_drill.addresses == tuple(("127.0.0.1", port) for port in (*there.ports, there.replica)), "what is cut off"
    (worker,) = made.json("load", "prod.py")["workers"].values()
    assert (worker["state"], worker["why"]) == ("idle", "")


def named(sentinel: int) -> int | None:
    """The port of the primary that a sentinel names; None if it says that there is none."""
    with Redis(port=sentinel, decode_responses=True) as asked:
        primary: Any = asked.sentinel_get_master_addr_by_name(NAME)
        is_well = "down" not in asked.sentinel_master(NAME)["flags"]
    return int(primary[1]) if is_well else None


def test_the_balancer_moves_capacity_after_a_failover(watched: tuple[Project, Sentinels], tmp_path: Path) -> None:
    here, there = watched[0].here, watched[1]
    release = here.release("r", OLD + NAP)
    batch = Machine(tmp_path / "batch", here.port, more=here.more, role="batch", hostname="batch1")
    producer = Celery(broker=there.url, broker_transport_options={"master_name": NAME})
    try:
        here.hostname = "web1"
        here.start(release)
        batch.start(release, queues=("reports",))
        with balancer(here, folder := tmp_path / "balancer", master_name=NAME):
            assert until(lambda: is_up(folder) and "fleet_balance_last_look_timestamp_seconds 1" in metrics(folder), 30)
            there.primary.kill()
            there.primary.wait()
            assert until(lambda: {named(port) for port in there.ports} == {there.replica}, 60)
            for _ in range(300):
                producer.send_task("nap", [0.5], queue="default")
            assert until(lambda: 'fleet_balance_lent_workers{roles="web"} 1.0' in metrics(folder), 90)
    finally:
        producer.pool.force_close_all()
        batch.end()
    assert [(move["outcome"], move["errors"]) for move in moves(folder)] == [("done", [])]


def test_wrong_names_and_sentinels_that_are_away(watched: tuple[Project, Sentinels]) -> None:
    made, there = watched
    (made.folder / "group_data" / "all.py").write_text(ALL.replace(NAME, "other"))
    done = made.fleet("queues", "prod.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"the sentinels know no primary other, as master_name says; they know {NAME}\n"
    (made.folder / "group_data" / "all.py").write_text(ALL)
    gone = [free_port(), free_port()]
    for ports, is_well in ([*gone[:1], there.ports[2]], True), (gone, False):
        url = ";".join(f"sentinel://:{PASSWORD}@127.0.0.1:{port}/0" for port in ports)
        (made.folder / "s.env").write_text(f"BROKER_URL={url}\n")
        done = made.fleet("queues", "prod.py", "--seconds", "0")
        if is_well:
            assert "no sentinel answers" not in done.stderr
        else:
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
            assert done.stderr.startswith("no sentinel answers (")
        assert PASSWORD not in done.stderr
