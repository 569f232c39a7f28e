"""Remote control and events, from inside a task of the worker that is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from celery import Celery, current_task

from tests.unit.fleet_node.delivery.cases import PATIENCE, SHORT, case, connected, raised, until


def own_node() -> str:
    """The worker that runs the task."""
    return str(current_task.request.hostname)


def asked(app: Celery) -> Any:
    """An Inspect of the worker that runs the task."""
    return app.control.inspect(destination=[own_node()], timeout=PATIENCE)


@case([[{"ok": "pong"}], {"ok": "pong"}])
def a_worker_answers_a_ping_by_name(app: Celery, name: str) -> Any:
    (answer,) = app.control.ping(destination=[own_node()], timeout=PATIENCE)
    return [list(answer.values()), asked(app).ping()[own_node()]]


@case([{"ok": "pong"}])
def all_workers_answer_a_ping(app: Celery, name: str) -> Any:
    return [answer for of in until(lambda: app.control.ping(timeout=1)) for answer in of.values()]


@case([None, []])
def nobody_answers_for_a_worker_that_is_not_there(app: Celery, name: str) -> Any:
    inspect = app.control.inspect(destination=["nobody@nowhere"], timeout=SHORT)
    return [inspect.ping(), app.control.ping(destination=["nobody@nowhere"], timeout=SHORT)]


@case([True, True, 0])
def a_worker_tells_what_it_does(app: Celery, name: str) -> Any:
    inspect, task = asked(app), current_task.request.id
    active = [request["id"] for request in inspect.active()[own_node()]]
    (found,) = inspect.query_task(task)[own_node()].values()
    return [task in active, found[0] == "active", len(inspect.scheduled()[own_node()])]


@case([["default"], True, True, True])
def a_worker_tells_what_it_is(app: Celery, name: str) -> Any:
    inspect = asked(app)
    queues = [queue["name"] for queue in inspect.active_queues()[own_node()]]
    stats = inspect.stats()[own_node()]
    registered = inspect.registered()[own_node()]
    return [queues, stats["total"]["cases.run"] > 0, "cases.echo" in registered, "clock" in inspect.clock()[own_node()]]


@case(["redis", "default"])
def a_worker_tells_its_settings_and_its_broker(app: Celery, name: str) -> Any:
    inspect = asked(app)
    return [inspect.stats()[own_node()]["broker"]["transport"], inspect.conf()[own_node()]["task_default_queue"]]


@case(["from another queue", True, 1])
def a_worker_consumes_a_queue_more_and_no_longer(app: Celery, name: str) -> Any:
    node, echo = own_node(), app.tasks["cases.echo"]
    app.control.add_consumer(name, destination=[node], reply=True, timeout=PATIENCE)
    got = echo.apply_async(["from another queue"], queue=name).get(timeout=PATIENCE, disable_sync_subtasks=False)
    (answer,) = app.control.cancel_consumer(name, destination=[node], reply=True, timeout=PATIENCE)
    with connected(app) as connection:
        channel = connection.default_channel

        def left() -> int:
            """Messages that stay in the queue while the worker takes another: it answers first, and cancels when it has read."""
            channel.queue_purge(name)
            echo.apply_async(["nobody takes it"], queue=name)
            echo.delay("taken").get(timeout=PATIENCE, disable_sync_subtasks=False)
            return int(channel.queue_declare(name).message_count)

        result = [got, "ok" in answer[node], until(left)]
        channel.queue_purge(name)
    return result


@case([True, True, ["a", "b"]])
def a_rate_limit_is_set_and_lifted(app: Celery, name: str) -> Any:
    node, echo = own_node(), app.tasks["cases.echo"]
    answers = []
    results = []
    for limit, value in (("100/s", "a"), ("0", "b")):
        (answer,) = app.control.rate_limit("cases.echo", limit, destination=[node], reply=True, timeout=PATIENCE)
        answers.append("ok" in answer[node])
        results.append(echo.delay(value).get(timeout=PATIENCE, disable_sync_subtasks=False))
    return [*answers, results]


@case([True, "waited"])
def a_time_limit_is_set(app: Celery, name: str) -> Any:
    answers = app.control.time_limit("cases.wait", hard=60, soft=50, destination=[own_node()], reply=True, timeout=PATIENCE)
    result = app.tasks["cases.wait"].delay(0)
    return ["ok" in answers[0][own_node()], result.get(timeout=PATIENCE, disable_sync_subtasks=False)]


@case(["TaskRevokedError", "REVOKED"])
def a_task_is_revoked_before_it_begins(app: Celery, name: str) -> Any:
    for countdown in (0.5, 2, 8):  # a busy machine may hear of it too late
        result = app.tasks["cases.echo"].apply_async(["never"], countdown=countdown)
        app.control.revoke(result.id, reply=True, destination=[own_node()], timeout=PATIENCE)
        error = raised(result.get, timeout=PATIENCE * 2, disable_sync_subtasks=False)
        if error:
            break
    return [error, result.state]


@case(["TaskRevokedError", True], pools=("prefork", "gevent"))
def a_task_is_revoked_while_it_runs(app: Celery, name: str) -> Any:
    result = app.tasks["cases.wait"].apply_async([PATIENCE * 3])
    active = until(lambda: result.id in [request["id"] for request in asked(app).active()[own_node()]])
    app.control.revoke(result.id, terminate=True, signal="SIGKILL", reply=True, destination=[own_node()], timeout=PATIENCE)
    return [raised(result.get, timeout=PATIENCE, disable_sync_subtasks=False), active]


@case(["TaskRevokedError", True])
def tasks_are_revoked_by_their_stamp(app: Celery, name: str) -> Any:
    app.control.revoke_by_stamped_headers({"order": [name]}, destination=[own_node()], reply=True, timeout=PATIENCE)
    signature = app.tasks["cases.echo"].si("never")
    signature.stamp(order=name)
    result = signature.apply_async(countdown=0.5)
    revoked = raised(result.get, timeout=PATIENCE, disable_sync_subtasks=False)
    return [revoked, result.id in str(asked(app).revoked()) or result.state == "REVOKED"]


@case(2)
def a_queue_of_the_app_is_purged(app: Celery, name: str) -> Any:
    with app.connection_for_write() as connection:
        for _ in range(2):
            app.tasks["cases.echo"].apply_async(["nobody takes it"], queue=name, connection=connection)
        return app.amqp.queues[name](connection.default_channel).purge()


@case("hello")
def an_event_comes_to_a_receiver(app: Celery, name: str) -> Any:
    with receiving(app, "fleet-hello") as got, app.events.default_dispatcher() as dispatcher:
        until(lambda: got or dispatcher.send("fleet-hello", value="hello"))
        return got[0]["value"]


@case(True)
def what_happens_to_tasks_comes_to_a_receiver(app: Celery, name: str) -> Any:
    """The worker sends events: -E."""
    with receiving(app, "task-succeeded") as got:
        echo = app.tasks["cases.echo"]
        sent: set[str] = set()
        until(lambda: got or sent.update([echo.delay("x").id]))  # type: ignore[func-returns-value]
        return got[0]["uuid"] in sent


@case("")
def a_receiver_waits_no_longer_than_it_should(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        receiver = app.events.Receiver(connection, handlers={"fleet-never": print})
        return raised(receiver.capture, limit=1, timeout=1, wakeup=False)


@contextmanager
def receiving(app: Celery, kind: str) -> Iterator[list[dict[str, Any]]]:
    """Events of a kind, as a receiver in another thread gets them. It ends with the first."""
    got: list[dict[str, Any]] = []

    def receive() -> None:
        with connected(app) as connection:
            receiver = app.events.Receiver(connection)

            def take(event: dict[str, Any]) -> None:
                got.append(event)
                receiver.should_stop = True

            receiver.handlers[kind] = take
            with suppress(TimeoutError):
                receiver.capture(timeout=PATIENCE, wakeup=False)

    thread = threading.Thread(target=receive)
    thread.start()
    try:
        yield got
    finally:
        thread.join(PATIENCE * 2)
