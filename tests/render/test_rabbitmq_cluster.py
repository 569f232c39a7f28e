"""Three nodes with the role's files, brought up and restarted by the role's commands, under load."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest

from fleet.engine.run import Run
from fleet.spec import endpoint
from fleet.spec.fleet import Fleet
from fleet.spec.secrets import BROKER_WORKER
from roles import rabbitmq
from tests.render.conftest import SECRETS, run_of
from tests.render.rabbitmq_cluster import Machine, load, machines
from tests.render.test_rabbitmq import with_rabbitmq

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="networks of their own are made by root"),
]
NETWORK = "10.77.0"


def run_with(fleet: Fleet, nodes: int, network: str) -> Run:
    changed = with_rabbitmq(fleet, nodes)
    hosts = dict(changed.hosts)
    for number, name in enumerate(changed.broker_hosts, 11):
        settings = hosts[name].settings.model_copy(update={"lan_address": f"{network}.{number}"})
        hosts[name] = replace(hosts[name], settings=settings)
    return run_of(replace(changed, hosts=hosts))


@pytest.fixture(scope="module")
def run(fleet: Fleet) -> Run:
    return run_with(fleet, 3, NETWORK)


@pytest.fixture(scope="module")
def cluster(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    """The machine of clients, and three nodes that are up, one after the other, as a deploy brings them."""
    fleet = run.fleet
    addresses = [fleet.address_of(name) for name in fleet.broker_hosts]
    with machines(tmp_path_factory.mktemp("cluster"), addresses) as made:
        for number, (machine, name) in enumerate(zip(made[1:], fleet.broker_hosts, strict=True), 1):
            machine.write(rabbitmq.desired(run, fleet.hosts[name]))
            machine.start()
            done = machine.run(rabbitmq.wait_until_whole(number))
            assert done.returncode == 0, done.stderr + (machine.folder / "output").read_text()
        done = made[1].run(rabbitmq.spread(rabbitmq.nodes(run)))
        assert done.returncode == 0, done.stderr
        yield made


def ports_of(machine: Machine) -> set[str]:
    lines = machine.run("ss -Hltn").stdout.splitlines()
    return {line.split()[3] for line in lines}


def test_where_it_listens(cluster: list[Machine]) -> None:
    for machine in cluster[1:]:
        lan = {f"{machine.address}:{port}" for port in (4369, 5672, 25672)}
        loopback = {f"127.0.0.1:{port}" for port in (4369, 5672, 15672)}
        assert ports_of(machine) - {"[::1]:4369"} == lan | loopback


def test_dead_letters_are_on_every_node(cluster: list[Machine], run: Run) -> None:
    lines = cluster[2].run("rabbitmqctl -q list_queues -p fleet --no-table-headers name members").stdout.splitlines()
    (members,) = [line for line in lines if line.startswith("fleet.dead")]
    assert all(node in members for node in rabbitmq.nodes(run))


def test_nothing_is_lost_while_nodes_restart_and_one_is_killed(cluster: list[Machine], run: Run) -> None:
    client, *nodes = cluster
    url = endpoint.broker(run.fleet, SECRETS).url
    with load(client, url) as outcome:
        for machine in nodes:
            spare = machine.run(rabbitmq.wait_until_spare(rabbitmq.nodes(run)))
            assert spare.returncode == 0, spare.stderr
            machine.stop()
            machine.start()
            assert machine.run(rabbitmq.wait_until_whole(3)).returncode == 0
        nodes[0].kill()
        nodes[0].start()
        assert nodes[0].run(rabbitmq.wait_until_whole(3)).returncode == 0
    assert outcome["sent"] > 1000
    assert outcome["lost"] == []


def test_no_node_stops_while_another_is_down(cluster: list[Machine], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first, second, _ = cluster
    second.stop()
    monkeypatch.setattr(rabbitmq, "PATIENCE", 4)
    refused = first.run(rabbitmq.wait_until_spare(rabbitmq.nodes(run)))
    assert refused.returncode == 1
    assert "RabbitMQ is not stopped here: a node of the cluster is down" in refused.stderr
    monkeypatch.undo()
    second.start()
    assert second.run(rabbitmq.wait_until_whole(3)).returncode == 0


def test_users_come_at_once_and_go_last(cluster: list[Machine], run: Run) -> None:
    first = cluster[1]
    changing = {**SECRETS, BROKER_WORKER: "new", f"{BROKER_WORKER}_BEFORE": SECRETS[BROKER_WORKER]}
    changed = {**SECRETS, BROKER_WORKER: "new"}

    def users() -> set[str]:
        return {line.split()[0] for line in first.run("rabbitmqctl -q list_users --no-table-headers").stdout.splitlines()}

    old, new = (endpoint.broker(run.fleet, secrets).user for secrets in (SECRETS, changed))
    before = first.folder / rabbitmq.DEFINITIONS[1:]
    kept = before.read_bytes()
    done = first.run(rabbitmq.accept(), rabbitmq.definitions_file(replace(run, secrets=changed)).content.decode())
    assert done.returncode == 0, done.stderr
    assert {old, new} <= users(), "nothing is taken away"
    assert before.read_bytes() == kept, "the next deploy does it again"
    for secrets, there in ((changing, {old, new}), (changed, {new})):
        settled = replace(run, secrets=secrets)
        content = rabbitmq.definitions_file(settled).content
        # As a deploy does it: on all nodes at once.
        with ThreadPoolExecutor(len(cluster)) as pool:
            outcomes = pool.map(Machine.run, cluster[1:], repeat(rabbitmq.settle(settled)), repeat(content.decode()))
        assert [done.stderr for done in outcomes if done.returncode] == []
        assert {user for user in users() if user.startswith("worker-")} == there
        assert before.read_bytes() == content
        assert before.stat().st_mode & 0o777 == 0o640
    assert not list(before.parent.glob(".fleet-*"))


def test_data_of_another_node_are_not_taken_over(cluster: list[Machine]) -> None:
    refused = cluster[1].run(rabbitmq.refuse_others_data())
    assert refused.returncode == 1
    assert "this machine has a RabbitMQ with queues in" in refused.stderr


def bring(machine: Machine, run: Run, host: str, number: int) -> None:
    """Start a node with its files, as a deploy does, until so many are up."""
    machine.write(rabbitmq.desired(run, run.fleet.hosts[host]))
    machine.start()
    done = machine.run(rabbitmq.wait_until_whole(number))
    assert done.returncode == 0, done.stderr + (machine.folder / "output").read_text()


def test_from_one_node_to_three_and_a_machine_that_is_set_up_anew(fleet: Fleet, tmp_path: Path) -> None:
    alone, three = (run_with(fleet, nodes, "10.78.0") for nodes in (1, 3))
    hosts = three.fleet.broker_hosts
    with machines(tmp_path, [three.fleet.address_of(name) for name in hosts]) as (client, first, second, third):
        bring(first, alone, hosts[0], 1)
        with load(client, endpoint.broker(three.fleet, SECRETS).url) as outcome:
            bring(second, three, hosts[1], 2)
            bring(third, three, hosts[2], 3)
            spare = first.run(rabbitmq.wait_until_spare(rabbitmq.nodes(three)))
            assert spare.returncode == 0, spare.stderr
            first.stop()
            bring(first, three, hosts[0], 3)
            second.kill()
            shutil.rmtree(second.folder / "var/lib/rabbitmq/mnesia")
            bring(second, three, hosts[1], 3)
            spare = third.run(rabbitmq.wait_until_spare(rabbitmq.nodes(three)))
            assert spare.returncode == 0, spare.stderr
        assert outcome["lost"] == []
        queues = "rabbitmqctl -q list_queues -p fleet --no-table-headers name members"
        (members,) = [line for line in third.run(queues).stdout.splitlines() if line.startswith("default")]
        assert all(node in members for node in rabbitmq.nodes(three))
