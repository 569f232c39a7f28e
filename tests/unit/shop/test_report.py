"""The exercise's verdict on an answer."""

from typing import Any

from tests.unit.shop_support import SHOP  # puts the shop on the path

# isort: split
from shop.exercise.plan import Job, jobs
from shop.exercise.report import complaints, judge, table

JOB = Job("shop.tasks.reports.count_primes", (70_000,), {"primes": 6_935})


def answer(status: str = "SUCCESS", result: Any = None) -> dict[str, Any]:
    return {"status": status, "result": result, "worker": "batch@one"}


def test_a_right_answer_is_no_complaint() -> None:
    outcome = judge("id-1", JOB, "batch", answer(result={"primes": 6_935, "limit": 70_000, "seconds": 0.25}))

    assert complaints([outcome]) == []
    assert table([outcome]).splitlines()[1].split() == ["batch@one", JOB.task, "1", "0", "0.250"]


def test_a_wrong_answer_names_task_worker_and_difference() -> None:
    outcome = judge("id-1", JOB, "batch", answer(result={"primes": 7, "seconds": 0.25}))

    assert complaints([outcome]) == ["wrong: shop.tasks.reports.count_primes(70000) on batch@one: primes is 7, not 6935"]
    assert table([outcome]).splitlines()[1].split() == ["batch@one", JOB.task, "1", "1", "0.250"]


def test_a_failed_task_counts_as_wrong_with_its_error() -> None:
    outcome = judge("id-1", JOB, "batch", answer("FAILURE", ValueError("no such thing")))

    assert complaints([outcome]) == [
        "wrong: shop.tasks.reports.count_primes(70000) on batch@one: FAILURE: ValueError('no such thing')"
    ]


def test_part_of_a_queue_missing_names_the_first() -> None:
    outcomes = [
        judge("id-1", JOB, "batch", answer(result={"primes": 6_935})),
        judge("id-2", JOB, "batch", None),
    ]

    assert complaints(outcomes) == [
        "no answer from queue batch for 1 of 2 tasks (1 shop.tasks.reports.count_primes): the first is id-2"
    ]


def test_a_run_covers_every_task_the_shop_has() -> None:
    planned = {job.task for job in jobs(5, "http://127.0.0.1:1", {"article-00": 1}, "run")}

    written = {
        f"shop.tasks.{module.stem}.{line.split('(')[0].removeprefix('def ')}"
        for module in (SHOP / "shop" / "tasks").glob("*.py")
        for decorator, line in zip(*[module.read_text().splitlines()[start:] for start in (0, 1)], strict=False)
        if decorator.startswith("@app.task")
    }
    assert planned == written
