"""Four times the load on one role for two minutes, with the balancer on the monitor's machine and without: who waits, and for how
long. Then load that is steady."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from fleet.broker.announcing import sender
from fleet.capacity.balance.policy import LOAN
from fleet.drill.ledger import account
from fleet.drill.load import Kind, Producer
from fleet.drill.reached import reached
from fleet.inventory.read import read_inventory
from fleet.rollout import history
from fleet.rollout.history import HistoryEntry
from fleet.spec.load import load_fleet
from tests.online.conftest import NAME, ROOT, Lab, inventory_with
from tests.unit.fleet_node.delivery.lease_support import until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

OBJECTIVE = 5.0
BASE = 2.0
"""Tasks a second of a second each, for four slots."""
BURST = 120.0
CATCHES_UP = 60.0
"""Seconds after capacity is there in which the wait is to be back under the objective."""
GIVEN_BACK = 600.0
EXTRA = "web-worker-1-extra@web1"
STEADY = float(os.environ.get("FLEET_TEST_STEADY") or 600)
"""Seconds of load that is steady."""
GROUP_DATA = {
    "all": f"""
lint_ignore = {{"task-time-limit": "the shop's tasks take seconds"}}
slo = {{"default": {OBJECTIVE}, "batch": 60}}
""",
    "web": """
web_worker = {
    "queues": ["default", "priority", "ml"], "workload": "io", "instances": 2, "concurrency": 2,
    "time_limit": 60, "settle": 2, "canary_settle": 5,
}
""",
    "batch": """
batch_worker = {
    "queues": ["batch"], "instances": 2, "concurrency": 4, "memory_per_slot": "60M",
    "time_limit": 60, "settle": 2, "canary_settle": 5,
}
""",
    "monitor": 'monitor = {"balance": True}\n',
}


@dataclass(frozen=True)
class Played:
    """What became of a burst, and of what came after it. waits: when each task of `default` was due, by Redis's clock, and the
    seconds that it waited. began: when the burst began. lost, twice: tasks of all queues."""

    waits: list[tuple[float, float]]
    began: float
    lost: int
    twice: int

    def worst(self) -> float:
        return max(wait for _, wait in self.waits)

    def p95(self, since: float, to: float) -> float:
        values = sorted(wait for due, wait in self.waits if since <= due < to)
        return values[math.ceil(0.95 * len(values)) - 1]


@pytest.fixture(scope="module")
def balanced(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The inventory of a fleet with a balancer, which is deployed."""
    folder = tmp_path_factory.mktemp("balanced")
    inventory = inventory_with(folder, web=["web1"], batch=["batch1"], gpu=[], monitor=["broker1"])
    (folder / "group_data").mkdir()
    for name, text in GROUP_DATA.items():
        (folder / "group_data" / f"{name}.py").write_text(text)
    done = lab.deploy(inventory=inventory)
    assert done.returncode == 0, done.stdout
    return inventory


@pytest.fixture
def producing(balanced: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Producer]:
    """A load that keeps half of web's slots busy, and few of batch's: an emulated machine adds a quarter to every task."""
    monkeypatch.setenv("FLEET_LAB", NAME)
    monkeypatch.chdir(ROOT)
    inventory = read_inventory(Path(balanced))
    kinds = (Kind("io", 1.0, ("default",), 1 / BASE), Kind("io", 2.0, ("batch",), 4.0))
    with reached(inventory, load_fleet(inventory)) as there, Producer(there.broker, kinds, ledger=there.ledger) as producer:
        yield producer


def moves(lab: Lab) -> list[dict[str, str]]:
    """The balancer's, by its own record."""
    lines = lab.ask("broker1", "cat /var/lib/fleet-balance/moves.jsonl 2>/dev/null || true").splitlines()
    return [json.loads(line) for line in lines]


def give_back(balanced: str) -> None:
    """What is lent out comes back."""
    inventory = read_inventory(Path(balanced))
    with reached(inventory, load_fleet(inventory)) as there, closing(sender(there.broker)) as app:
        answers = app.control.broadcast("fleet_lend", arguments={}, reply=True, timeout=10, limit=4)
    assert all("ok" in answer for reply in answers for answer in reply.values()), answers
    assert len(answers) == 4


def settle(producing: Producer) -> None:
    """Wait until nothing waits any more."""

    def done() -> bool:
        time.sleep(2)  # the ledger is long
        due = producing.now() - 6
        ended = {number for number, event, _, _ in producing.entries() if event == "end"}
        return all(task.number in ended for task in producing.sent.copy() if task.due < due)

    assert until(done, 600)


def burst(balanced: str, producing: Producer) -> Played:
    """Three times the load of web besides."""
    inventory = read_inventory(Path(balanced))
    more = (Kind("io", 1.0, ("default",), 1 / (3 * BASE)),)
    with reached(inventory, load_fleet(inventory)) as there, Producer(there.broker, more, ledger=there.ledger) as other:
        began = other.now()
        other.send_for(BURST)
        other.stop()
        other.wait_until_finished(120)
        settle(producing)
        parts = [(producer.sent.copy(), producer.entries()) for producer in (producing, other)]
        now = producing.now()
    waits, lost, twice = [], 0, 0
    for sent, entries in parts:
        old = [task for task in sent if began <= task.due < now - 10]
        of = account(old, entries)
        lost, twice = lost + len(of.lost), twice + len(of.run_twice)
        begun = {number: at for number, event, at, _ in reversed(entries) if event == "start"}
        waits += [(task.due, begun[task.number] - task.due) for task in old if task.queue == "default" and task.number in begun]
    return Played(waits, began, lost, twice)


def test_a_burst_waits_a_fifth_as_long_with_a_balancer(lab: Lab, balanced: str, producing: Producer, tmp_path: Path) -> None:
    assert until(lambda: lab.ask("broker1", "systemctl is-active fleet-balance") == "active", 60)
    lab.ask("broker1", "systemctl stop fleet-balance")
    give_back(balanced)
    producing.send_for(30)
    without = burst(balanced, producing)
    lab.ask("broker1", "systemctl start fleet-balance")
    producing.send_for(40)
    before = len(moves(lab))
    with_it = burst(balanced, producing)
    assert until(lambda: len(moves(lab)) >= before + 2, GIVEN_BACK), moves(lab)
    lent, back = moves(lab)[before : before + 2]
    assert lent["what"].startswith("lent to web"), lent
    assert back["what"].startswith("given back by web"), back
    there = history.began(cast("HistoryEntry", lent)) or 0.0
    figures = {"worst": [without.worst(), with_it.worst()], "p95": with_it.p95(there + CATCHES_UP, with_it.began + BURST)}
    figures |= {"lent": there - with_it.began, "lost": without.lost + with_it.lost, "twice": without.twice + with_it.twice}
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    assert (figures["lost"], figures["twice"]) == (0, 0)
    assert without.worst() > 5 * with_it.worst(), figures
    assert with_it.p95(there + CATCHES_UP, with_it.began + BURST) < OBJECTIVE, figures
    text = lab.run("fleet", "history", balanced).stdout
    assert "lent to web" in text
    assert "given back by web" in text


def test_a_worker_more_is_started_where_nobody_can_help(lab: Lab, balanced: str, producing: Producer) -> None:
    lab.ask("broker1", "systemctl stop fleet-balance")
    lab.ask("batch1", "systemctl stop celery-batch@1 celery-batch@2")
    inventory = read_inventory(Path(balanced))
    more = (Kind("io", 1.0, ("default",), 1 / (3 * BASE)),)
    with reached(inventory, load_fleet(inventory)) as there, Producer(there.broker, more, ledger=there.ledger) as other:
        other.send_for(40)
        done = lab.run("fleet", "balance", balanced, "--apply")
        assert done.returncode == 1, done.stdout
        assert "web lacks slots" in done.stdout
        assert "web1: celery-web@1-extra.service: started, with 2 slots, for 5m" in done.stdout, done.stdout
        assert until(lambda: any(node == EXTRA for _, _, _, node in other.entries()), 60)
        again = lab.run("fleet", "balance", balanced, "--apply")
        assert "not started: there is one already" in again.stdout, again.stdout
        other.stop()
        lab.ask("batch1", "systemctl start celery-batch@1 celery-batch@2", timeout=180)
        other.wait_until_finished(120)
        of = account(other.sent, other.entries())
    assert (len(of.lost), len(of.run_twice)) == (0, 0)
    gone = "systemctl is-active celery-web@1-extra || ls /run/systemd/system/ | grep extra || true"
    assert until(lambda: lab.ask("web1", gone).splitlines() == ["inactive"], LOAN + 120), lab.ask("web1", gone)
    lab.ask("broker1", "systemctl start fleet-balance")


def test_nothing_moves_while_the_load_is_steady(lab: Lab, producing: Producer) -> None:
    before = len(moves(lab))
    started = time.monotonic()
    producing.send_for(STEADY)
    assert len(moves(lab)) == before, f"{moves(lab)[before:]} in {time.monotonic() - started:.0f} s"
