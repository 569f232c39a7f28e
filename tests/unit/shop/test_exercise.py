"""The demo app, on a real Redis and a real worker."""

import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.shop_support import WORKER, Shop, environment_for, free_port, running_shop

TASKS_OF_QUEUE = {
    "default": ["shop.tasks.prices.fetch_price"],
    "priority": ["shop.tasks.orders.place_order"],
    "batch": ["shop.tasks.reports.count_primes", "shop.tasks.reports.hold_memory"],
    "ml": ["shop.tasks.ml.sum_of_squares"],
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with running_shop(tmp_path_factory.mktemp("shop")) as running:
        yield running


@pytest.fixture
def shop_without_ml(shop: Shop) -> Iterator[Shop]:
    shop.consume("ml", False)
    yield shop
    shop.client.control.purge()
    shop.consume("ml", True)


def test_every_answer_is_there_right_and_counted(shop: Shop) -> None:
    done = shop.exercise("--tasks", "10", "--json")

    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert {name: counts[name] for name in ("sent", "finished", "wrong", "lost")} == {
        "sent": 10,
        "finished": 10,
        "wrong": 0,
        "lost": 0,
    }
    assert counts["queues"] == {queue: 2 * len(tasks) for queue, tasks in TASKS_OF_QUEUE.items()}
    assert counts["workers"] == {WORKER: {task: 2 for tasks in TASKS_OF_QUEUE.values() for task in tasks}}
    assert "10 of 10 done" in done.stderr


@pytest.mark.long
def test_what_no_worker_takes_is_named_with_its_queue(shop_without_ml: Shop) -> None:
    done = shop_without_ml.exercise("--tasks", "5", "--timeout", "1")

    assert done.returncode == 1
    assert "no answer from queue ml for 1 of 1 tasks (1 shop.tasks.ml.sum_of_squares): does a worker consume it?" in done.stderr


@pytest.mark.long
def test_ctrl_c_ends_it_without_a_traceback(shop_without_ml: Shop) -> None:
    command = shop_without_ml.command("--tasks", "5")
    with subprocess.Popen(command, env=shop_without_ml.environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        waiting = running.stderr.readline()
        running.send_signal(signal.SIGINT)
        rest = running.stderr.read()

    assert "of 5 done" in waiting
    assert running.returncode == 130
    assert "stopped: 5 tasks sent" in rest
    assert "Traceback" not in rest


def test_a_broker_out_of_reach_is_said_plainly(tmp_path: Path) -> None:
    unused = free_port()
    command = ["--tasks", "5", "--json"]
    done = Shop(environment_for(unused, tmp_path / "shop.db"), None, tmp_path).exercise(*command)

    assert done.returncode == 1
    assert "cannot send to" in done.stderr
    assert f"127.0.0.1:{unused}. Connection refused" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_order_placed_twice_is_stored_once(shop: Shop) -> None:
    order = ("order-1", "article-01", 3, 250)
    first, second = (shop.ask("shop.tasks.orders.place_order", "priority", *order) for _ in range(2))

    stored = {"order_id": "order-1", "sku": "article-01", "quantity": 3, "total_cents": 750}
    assert first | stored == first
    assert second | stored == second
    assert rows(shop, "order-1") == [("order-1", "article-01", 3, 750)]


def test_an_order_id_with_another_content_is_refused(shop: Shop) -> None:
    shop.ask("shop.tasks.orders.place_order", "priority", "order-2", "article-01", 1, 100)
    with pytest.raises(Exception, match="order order-2 is already stored"):
        shop.ask("shop.tasks.orders.place_order", "priority", "order-2", "article-01", 2, 100)

    assert rows(shop, "order-2") == [("order-2", "article-01", 1, 100)]


@pytest.mark.long
def test_memory_taken_is_given_back(shop: Shop) -> None:
    before, held, after = shop.ask("shop.tasks.reports.hold_memory", "batch", 40)["resident_mib"]

    assert held - before >= 30
    assert held - after >= 30


def rows(shop: Shop, order_id: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(shop.database)) as database:
        return database.execute("SELECT * FROM orders WHERE order_id = ?", [order_id]).fetchall()
