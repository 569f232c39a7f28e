"""Results and canvas: tasks that send tasks, and wait for them."""

from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from typing import Any

from celery import Celery, chain, chord, group
from celery.result import ResultSet, allow_join_result

from tests.unit.fleet_node.delivery.cases import PATIENCE, SHORT, case, connected, raised, until


def value_of(result: Any) -> Any:
    """What a task gives, inside a task."""
    return result.get(timeout=PATIENCE, disable_sync_subtasks=False)


@case(1)
def a_task_waits_for_another_if_it_insists(app: Celery, name: str) -> Any:
    return value_of(app.tasks["cases.echo"].delay(1))


@case("RuntimeError", pools=("prefork", "threads"))
def a_task_that_waits_for_another_is_warned(app: Celery, name: str) -> Any:
    return raised(app.tasks["cases.echo"].delay(2).get, timeout=PATIENCE)


@case(["ValueError", "FAILURE"])
def a_failure_is_raised_where_it_is_waited_for(app: Celery, name: str) -> Any:
    result = app.tasks["cases.fail"].delay()
    return [raised(result.get, timeout=PATIENCE, disable_sync_subtasks=False), result.state]


@case(["TimeoutError", "waited"])
def a_result_is_not_waited_for_longer_than_it_should(app: Celery, name: str) -> Any:
    result = app.tasks["cases.wait_for"].delay(name)
    too_short = raised(result.get, timeout=SHORT, disable_sync_subtasks=False)
    app.backend.client.set(name, 1)
    return [too_short, value_of(result)]


@case([10, [0, 1, 4, 9], 25])
def chains_groups_and_chords_run(app: Celery, name: str) -> Any:
    add, total, echo = (app.tasks[f"cases.{task}"] for task in ("add", "total", "echo"))
    with allow_join_result():
        return [
            chain(add.si(1, 2), add.s(3), add.s(4))().get(timeout=PATIENCE),
            group(echo.si(number * number) for number in range(4))().get(timeout=PATIENCE),
            chord([add.si(number, 1) for number in range(5)], chain(total.s(), add.s(10)))().get(timeout=PATIENCE),
        ]


@case(["ValueError", "ValueError", "ValueError"])
def a_failure_in_a_canvas_comes_out(app: Celery, name: str) -> Any:
    add, total, fail = (app.tasks[f"cases.{task}"] for task in ("add", "total", "fail"))
    canvases = chord([add.si(1, 1), fail.si()], total.s()), chain(fail.si(), add.s(1)), group(add.si(1, 1), fail.si())
    with allow_join_result():
        return [raised(canvas().get, timeout=PATIENCE) for canvas in canvases]


@case([[0, 2, 4], [3, 7], [[0, 2], [4, 6], [8]]])
def work_is_mapped_and_cut_into_chunks(app: Celery, name: str) -> Any:
    add, echo = app.tasks["cases.add"], app.tasks["cases.echo"]
    pairs = [(number, number) for number in range(5)]
    with allow_join_result():
        return [
            value_of(echo.map([0, 2, 4]).delay()),
            value_of(add.starmap([(1, 2), (3, 4)]).delay()),
            add.chunks(pairs, 2)().get(timeout=PATIENCE),
        ]


@case([[0, 1, 2], [0, 1, 2]])
def results_are_joined_and_iterated(app: Celery, name: str) -> Any:
    results = ResultSet([app.tasks["cases.echo"].delay(number) for number in range(3)])
    with allow_join_result():
        joined = results.join_native(timeout=PATIENCE)
        iterated = [meta["result"] for _, meta in results.iter_native(timeout=PATIENCE)]
    return [joined, sorted(iterated)]


@case([3, "ValueError"])
def a_task_tries_again_and_gives_up(app: Celery, name: str) -> Any:
    gives_up = app.tasks["cases.give_up"].delay()
    again = app.tasks["cases.again"].delay(3)
    until(lambda: gives_up.ready() and again.ready())
    return [again.result, type(gives_up.result).__name__]


@case(["2: True"])
def a_task_rejects_itself_and_comes_again(app: Celery, name: str) -> Any:
    return [value_of(app.tasks["cases.reject"].delay(name))]


@case(5)
def a_task_puts_another_in_its_place(app: Celery, name: str) -> Any:
    return value_of(app.tasks["cases.become"].delay(4))


@case([1, 0])
def a_late_task_is_written_down_while_it_runs_and_an_early_one_is_not(app: Celery, name: str) -> Any:
    return [value_of(app.tasks["cases.late"].delay()), value_of(app.tasks["cases.early"].delay())]


@case(["datetime", "UUID", "Decimal"])
def headers_of_a_task_keep_their_types(app: Celery, name: str) -> Any:
    values = [datetime.datetime.now(datetime.UTC), uuid.uuid4(), Decimal("1.10")]
    return value_of(app.tasks["cases.headers"].apply_async(headers={"values": values}))


@case(["HALF", "all", "SUCCESS"])
def a_task_reports_how_far_it_is(app: Celery, name: str) -> Any:
    states: list[str] = []

    def see(meta: dict[str, Any]) -> None:
        states.append(meta["status"])
        app.backend.client.set(name, 1)

    result = app.tasks["cases.progress"].delay(name)
    got = result.get(timeout=PATIENCE, disable_sync_subtasks=False, on_message=see)
    return [states[0], got, result.state]


@case([["5"], ["ValueError('as it should')"]])
def callbacks_follow_a_success_and_a_failure(app: Celery, name: str) -> Any:
    remember = app.tasks["cases.remember"]
    app.tasks["cases.add"].apply_async([2, 3], link=remember.s(f"{name}.ok"))
    app.tasks["cases.fail"].apply_async(link_error=app.tasks["cases.note"].s(f"{name}.failed"))
    client = app.backend.client
    until(lambda: client.exists(f"{name}.ok", f"{name}.failed") == 2)
    return [[line.decode() for line in client.lrange(f"{name}.{what}", 0, -1)] for what in ("ok", "failed")]


@case(["soon", "TaskRevokedError"])
def a_countdown_is_waited_for_and_what_has_expired_does_not_run(app: Celery, name: str) -> Any:
    echo = app.tasks["cases.echo"]
    expired = echo.apply_async(["late"], expires=datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1))
    soon = value_of(echo.apply_async(["soon"], countdown=0.3))
    return [soon, raised(expired.get, timeout=PATIENCE, disable_sync_subtasks=False)]


@case(["a", "b", "c", "x" * 5000])
def a_task_is_sent_in_many_ways(app: Celery, name: str) -> Any:
    with connected(app) as connection, app.amqp.Producer(connection) as producer:
        results = [
            app.send_task("cases.echo", ["a"], connection=connection),
            app.tasks["cases.echo"].apply_async(["b"], producer=producer, priority=3),
            app.signature("cases.echo", ["c"]).apply_async(retry=True, retry_policy={"max_retries": 2}),
            app.tasks["cases.echo"].apply_async(["x" * 5000], compression="gzip"),
        ]
        return [value_of(result) for result in results]


@case(["ran", 0])
def a_task_whose_delivery_tag_is_a_number_runs(app: Celery, name: str) -> Any:
    """As another program may send it."""
    with connected(app) as connection:
        channel = connection.default_channel
        result = app.tasks["cases.echo"].apply_async(["ran"], queue=name)
        message = json.loads(channel.client.rpop(name))
        message["properties"]["delivery_tag"] = 4711
        message["properties"]["delivery_info"]["routing_key"] = "default"
        channel.client.lpush("default", json.dumps(message))
        got = value_of(result)
        gone = until(lambda: not channel.client.hexists("unacked", "4711"))
    return [got, int(not gone)]


@case(["PENDING", "gone", "PENDING"])
def a_result_is_forgotten(app: Celery, name: str) -> Any:
    result = app.tasks["cases.echo"].delay("gone")
    unknown = app.AsyncResult(name).state
    value = value_of(result)
    result.forget()
    return [unknown, value, app.AsyncResult(result.id).state]
