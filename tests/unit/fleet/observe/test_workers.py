"""The load of a fleet put together, and what to do about it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fleet.broker.redis import connections, fullness, latest, renewals
from fleet.observe.advice import advise
from fleet.observe.broker import BrokerReport, absent
from fleet.observe.machine import Machine, Unit
from fleet.observe.plain import load_as_json
from fleet.observe.workers import Load, RoleLoad, WorkerLoad, load_of
from fleet.plan.facts import MachineFacts
from tests.unit.fleet.observe.test_states import sign
from tests.unit.fleet_support import fleet_of, plan_of

pytestmark = pytest.mark.usefixtures("app_folder")
FACTS = MachineFacts(4, 8 << 30)
WEB = {"queues": ["default"], "concurrency": 4, "instances": 1}
BATCH = {"queues": ["batch"], "workload": "cpu", "concurrency": 2, "instances": 1, "memory_per_slot": "100M"}
UP = Unit("active", "running", process="S", memory=600 << 20, memory_max=1 << 30, up=60.0, release="r1")
WORKER = WorkerLoad(
    node="web-worker-1@web1",
    host="web1",
    role="web",
    state="busy",
    why="",
    expected=True,
    slots=4,
    running={"t": 4},
    prefetched=0,
    eta=0,
    queues=("default",),
    heard_s={"systemd": 0.0, "connection": 1.0, "sign": 0.0},
)
ROLE = RoleLoad("web", 1, 1, slots=4, active=4, prefetched=0, eta=0, waiting=9, queues=("default",))
IDLE = RoleLoad("batch", 1, 1, slots=4, active=1, prefetched=0, eta=0, waiting=0, queues=("batch",))


def machine(host: str, role: str) -> Machine:
    return Machine(f"{host}.example", FACTS, reaches_broker=True, units={f"celery-{role}@1.service": UP})


def loaded(broker: BrokerReport, *down: str) -> Load:
    plan = plan_of(fleet_of({"web": WEB, "batch": BATCH}), FACTS)
    hosts = {"web1": "web", "web2": "web", "batch1": "batch", "batch2": "batch"}
    machines = {host: machine(host, role) for host, role in hosts.items() if host not in down}
    return load_of(plan, machines, dict.fromkeys(down, "timed out"), broker)


def answers(*nodes: str, **changed: Any) -> dict[str, Any]:
    return {node: sign(node=node, **changed) for node in nodes}


NODES = (
    "web-worker-1@web1.example",
    "web-worker-1@web2.example",
    "batch-worker-1@batch1.example",
    "batch-worker-1@batch2.example",
)


def test_every_worker_that_should_be_there_is_there() -> None:
    load = loaded(BrokerReport(answers(*NODES, running={"t": 3}, reserved=2, eta=1), waiting={"default": 7, "batch": 1}))
    assert [worker.node for worker in load.workers] == list(NODES)
    assert {(worker.state, worker.active, worker.prefetched, worker.eta, worker.memory) for worker in load.workers} == {
        ("busy", 3, 2, 1, 600 << 20)
    }
    web, batch = load.roles
    assert (web.workers, web.well, web.slots, web.active, web.waiting, web.utilisation) == (2, 2, 8, 6, 7, 75.0)
    assert (batch.slots, batch.active, batch.waiting) == (8, 6, 1), "what they say goes before what the settings say"
    plain = load_as_json(load, "inventory/prod.py")
    assert list(plain) == ["workers", "roles", "advice", "silent", "broker", "not_known"]
    first = plain["workers"]["web-worker-1@web1.example"]
    assert (first["state"], first["active"], first["slots"], first["utilisation"], first["heard_s"]) == ("busy", 3, 4, 75.0, 0.0)


def test_several_workers_of_a_machine_have_the_slots_of_one_each() -> None:
    plan = plan_of(fleet_of({"web": {**WEB, "instances": 2}}, hosts_a_role=1), FACTS)
    there = Machine("web1", FACTS, reaches_broker=True, units={f"celery-web@{number}.service": UP for number in (1, 2)})
    for broker in (BrokerReport(answers("web-worker-1@web1", "web-worker-2@web1")), BrokerReport()):
        load = load_of(plan, {"web1": there}, {}, broker)
        assert [worker.slots for worker in load.workers] == [4, 4]


def test_a_worker_that_is_lent_out_says_for_what_and_for_how_long() -> None:
    lent = {"queues": ["batch"], "slots": 2, "until": 160.0}
    load = loaded(BrokerReport(answers(*NODES, at=100.0, lent=lent)))
    assert load.workers[0].lent == "lent out: batch, 2 slots more, for 1m"


def test_a_machine_that_is_down_takes_nobody_off_the_list() -> None:
    load = loaded(BrokerReport(answers(*NODES[:2]), renewed={"batch-worker-1@batch1": 50.0}), "batch1", "batch2")
    assert [worker.state for worker in load.workers] == ["idle", "idle", "dead", "dead"]
    assert [worker.node for worker in load.workers][2:] == ["batch-worker-1@batch1", "batch-worker-1@batch2"]
    assert load.roles[1].well == 0
    lines = advise(load, "inventory/prod.py")
    assert any("fleet retire inventory/prod.py batch1 --gone" in line for line in lines)
    assert any(line.startswith("batch: no worker is well") for line in lines)


def test_a_broker_that_is_away_leaves_what_systemd_says() -> None:
    load = loaded(absent("the broker does not answer: refused"))
    assert {worker.state for worker in load.workers} == {"unknown"}
    assert {role.waiting for role in load.roles} == {None}
    assert advise(load, "i")[0] == "the broker does not answer: refused"


def test_a_worker_that_no_setting_asks_for() -> None:
    load = loaded(BrokerReport(answers(*NODES, "web-worker-1@web9", "web-worker-1-surge@web1.example")))
    assert [(worker.node, worker.expected) for worker in load.workers[4:]] == [
        ("web-worker-1@web9", False),
        ("web-worker-1-surge@web1.example", False),
    ]
    assert [line for line in advise(load, "i") if "no setting" in line] == [
        "web-worker-1@web9 consumes default, and no setting asks for it; fleet retire i HOST"
    ]


@pytest.mark.parametrize(
    ("workers", "roles", "advice"),
    [
        ((WORKER,), (replace(ROLE, waiting=0),), ()),
        (
            (WORKER,),
            (ROLE, IDLE),
            (
                "web: 4 of 4 slots are busy and 9 tasks wait; raise concurrency or instances of web_worker, or add a "
                "machine; batch has 3 of 4 slots free",
            ),
        ),
        (
            (replace(WORKER, prefetched=8), replace(WORKER, node="web-worker-2@web1", running={})),
            (replace(ROLE, workers=2, well=2, slots=8, active=4, prefetched=8, waiting=0),),
            (
                'web: 1 full worker holds 8 fetched tasks, while 4 slots are free; set "prefetch" of web_worker to '
                '1, or to "disabled"',
            ),
        ),
        (
            (replace(WORKER, state="ghost", why="it answers, and consumes no queue"),),
            (),
            ("web-worker-1@web1 is ghost: it answers, and consumes no queue; pyinfra i restart.py --limit web1",),
        ),
        (
            (replace(WORKER, state="dead", why="killed for memory, 3 restarts"),),
            (),
            ("web-worker-1@web1 is dead: killed for memory, 3 restarts; on web1: journalctl -u celery-web@1.service -n 50",),
        ),
        (
            (replace(WORKER, oom_kills=2),),
            (),
            (
                "web-worker-1@web1: 2 processes were killed for memory since it started; on web1: journalctl -k -g oom; give its "
                "role more, or lower its concurrency",
            ),
        ),
        (
            (replace(WORKER, memory=95, memory_max=100, restarts=3),),
            (),
            (
                "web-worker-1@web1 has 95 % of the memory that it may have; give its role more, or lower its concurrency",
                "web-worker-1@web1 was started again 3 times; on web1: journalctl -u celery-web@1.service -n 50",
            ),
        ),
        (
            (replace(WORKER, running={}, state="idle"),),
            (replace(ROLE, active=0),),
            (
                "web: 9 tasks wait in default although 4 of 4 slots are free; ask again, and if it stays so, look at what its "
                "workers log",
            ),
        ),
    ],
)  # fmt: skip
def test_what_to_do(workers: tuple[WorkerLoad, ...], roles: tuple[RoleLoad, ...], advice: tuple[str, ...]) -> None:
    assert advise(Load(workers, roles), "i") == list(advice)


def test_signs_leases_and_connections_become_ages() -> None:
    texts = [*(json.dumps(sign(node="a", at=at)) for at in (90, 95)), "{", '{"node": "b"}']
    assert {node: age for node, (_, age) in latest(texts, 100.0).items()} == {"a": 5.0}
    holders = {"a|boot|1|2|x": 150.0, "a|boot|3|4|y": 130.0, "b|boot|1|2|z": float("inf")}
    assert renewals(holders, 100.0, 60) == {"a": 10.0, "b": None}
    assert renewals(holders, 100.0, None) == {"a": None, "b": None}
    clients = [{"name": "fleet:a", "idle": "7"}, {"name": "fleet:a", "idle": "3"}, {"name": "", "idle": "0"}, {"idle": "1"}]
    assert connections(clients) == {"a": 3.0}


def test_a_broker_that_is_full_says_so() -> None:
    assert fullness({"used_memory": 100 << 20, "maxmemory": 0}) == ""
    assert fullness({"used_memory": 99 << 20, "maxmemory": 100 << 20}) == ""
    assert fullness({"used_memory": 101 << 20, "maxmemory": 100 << 20}).startswith("the broker is full (101 of 100 MB)")
