"""A worker that is lent out consumes what it is lent for, whatever happens to it, and ends it by itself."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import ConnectionError

from fleet_node.gate.inspector import WorkerInspector
from fleet_node.protocol import LOAN_MOST, WorkerSign
from tests.unit.fleet_node.delivery.lease_support import begun, ended, kill, leased, order, send, until
from tests.unit.process_support import pools

NODE = "web-worker-1@test"
UNIT = "celery-web@1.service"
POOLS = pools("threads", "prefork", "gevent")
pytestmark = pytest.mark.long


def lend(client: Celery, queues: list[str], seconds: float, slots: int = 0) -> dict[str, Any]:
    """The worker's answer."""
    return ask(client, "fleet_lend", queues=queues, seconds=seconds, slots=slots)


def sign(client: Celery) -> WorkerSign:
    answer: Any = ask(client, "fleet_sign")
    return answer  # type: ignore[no-any-return]


def ask(client: Celery, command: str, **arguments: Any) -> dict[str, Any]:
    """The worker's answer to a command: one that has just started, or lost its broker, may not hear the first."""
    answers: list[dict[str, Any]] = []

    def answered() -> bool:
        with suppress(ConnectionError):  # the client's own was cut
            answers.extend(
                client.control.broadcast(command, arguments=arguments, destination=[NODE], reply=True, timeout=2, limit=1) or []
            )
        return bool(answers)

    assert until(answered)
    answer: dict[str, Any] = answers[0][NODE]
    return answer


def consumes(client: Celery, *queues: str) -> bool:
    return until(lambda: sign(client)["queues"] == sorted(queues), 15)


@POOLS
def test_it_consumes_another_queue_until_the_loan_ends_by_itself(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool) as here, here.client() as client:
        here.start(here.release("r"))
        send(client, 1, queue="other")
        assert "lent" not in sign(client)
        now = time.time()
        answer = lend(client, ["other", "default"], 8)["ok"]
        assert (answer["queues"], answer["slots"]) == (["other"], 0), "its own queue is not lent"
        assert until(lambda: ended(here) == {1}), here.output()
        lent = sign(client).get("lent")
        assert lent
        assert (lent["queues"], now < lent["until"] < now + 60) == (["other"], True)
        assert consumes(client, "default")
        assert "lent" not in sign(client)
        send(client, 2, queue="other")
        send(client, 3)
        assert until(lambda: 3 in ended(here))
        assert 2 not in begun(here)


def test_a_new_loan_replaces_the_last_and_one_of_nothing_ends_it(tmp_path: Path) -> None:
    with leased(tmp_path) as here, here.client() as client:
        here.start(here.release("r"))
        lend(client, ["a", "b"], 60)
        assert consumes(client, "a", "b", "default")
        lend(client, ["b", "c"], 60)
        assert consumes(client, "b", "c", "default")
        lend(client, [], 0)
        assert consumes(client, "default")


@POOLS
def test_it_outlives_the_broker_and_the_worker(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool) as here, here.client() as client:
        release = here.release("r")
        here.start(release)
        lend(client, ["other"], LOAN_MOST)
        assert consumes(client, "default", "other")
        with here.redis() as redis:
            redis.client_kill_filter(skipme=True)
        assert until(lambda: "Connection to broker lost" in here.output(), 20), here.output()
        send(client, 1, queue="other")
        assert until(lambda: ended(here) == {1}, 30), here.output()
        kill(here)
        here.start(release)
        send(client, 2, queue="other")
        assert until(lambda: 2 in ended(here), 30), here.output()
        lend(client, [], 0)
        assert consumes(client, "default")


def test_a_worker_that_drains_takes_nothing_for_others_either(tmp_path: Path) -> None:
    with leased(tmp_path, "prefork") as here, here.client() as client:
        here.start(here.release("r"))
        lend(client, ["other"], 60)
        assert consumes(client, "default", "other")
        send(client, 1, 6, queue="other")
        assert until(lambda: 1 in begun(here)), here.output()
        client.control.broadcast("fleet_drain", destination=[NODE])
        assert consumes(client)
        send(client, 2, queue="other")
        assert until(lambda: ended(here) == {1})
        assert sign(client)["queues"] == [], "nor does it begin again"
        assert order(here) == [1]


def test_prefork_has_more_slots_for_a_time(tmp_path: Path) -> None:
    with leased(tmp_path, "prefork") as here, here.client() as client:
        here.concurrency = 2
        here.start(here.release("r"))
        assert lend(client, [], 60, slots=2)["ok"]["slots"] in (0, 2)
        assert until(lambda: sign(client)["slots"] == 4)
        for number in range(5):
            send(client, number, 8)
        assert until(lambda: len(begun(here).keys() - ended(here)) == 4), "at once"
        lend(client, [], 0)
        assert until(lambda: sign(client)["slots"] == 2, 30), "when tasks have ended: none is cut off"
        assert until(lambda: ended(here) == set(range(5)))
        for number in range(10, 13):
            send(client, number, 3)
        assert until(lambda: len(begun(here)) == 7)
        assert until(lambda: ended(here) == {*range(5), 10, 11, 12})
        assert here.process(UNIT)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (([], LOAN_MOST + 1, 0), "a loan lasts"),
        (([], 60, -1), "lends no slots"),
        (([], 60, 1), "(thread) gets no more slots"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, arguments: tuple[list[str], float, int], why: str) -> None:
    with leased(tmp_path) as here, here.client() as client:
        here.start(here.release("r"))
        assert why in lend(client, *arguments)["error"]
        assert "lent" not in sign(client)


def test_its_own_queue_stays_its_own_if_it_was_lent_for_it_before(tmp_path: Path) -> None:
    """The settings have changed since then."""
    with leased(tmp_path) as here, here.client() as client:
        release = here.release("r")
        here.start(release)
        lend(client, ["other"], 15)
        assert consumes(client, "default", "other")
        here.stop([UNIT])
        here.start(release, queues=("default", "other"))
        assert consumes(client, "default", "other")
        assert "lent" not in sign(client)
        lend(client, ["third"], 60)
        lend(client, [], 0)
        assert consumes(client, "default", "other")


def test_who_is_lent_out_does_not_count_where_a_queue_must_be_served(tmp_path: Path) -> None:
    with leased(tmp_path) as here, here.client() as client:
        here.start(here.release("r"))
        lend(client, ["other"], 60)
        assert consumes(client, "default", "other")
        assert WorkerInspector(client).consumed(1, 5) == {NODE: ["default"]}
