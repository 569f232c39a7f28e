"""Connections, pools of them, producers, and who else may use the broker: threads, forks, other programs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

from celery import Celery
from kombu import Connection, Consumer, Exchange, Producer, Queue, common, pools
from kombu.mixins import ConsumerMixin

from tests.unit.fleet_node.delivery.cases import PATIENCE, SHORT, bodies, case, connected, consuming, drain, fill, raised, rest


@case(["a"])
def an_apps_pool_lends_connections(app: Celery, name: str) -> Any:
    with app.pool.acquire(block=True) as connection:
        fill(connection.default_channel, name, "a")
        return rest(connection.default_channel, name)


@case([True, True])
def connection_or_acquire_takes_what_there_is(app: Celery, name: str) -> Any:
    with app.connection_or_acquire() as connection, app.connection_or_acquire(connection) as same:
        return [same is connection, same.connected or bool(same.default_channel)]


@case([True, "ConnectionLimitExceeded"])
def a_pool_lends_the_same_connection_again_and_no_more_than_it_has(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        pool = connection.Pool(limit=1)
        with pool.acquire(block=True) as first:
            first.ensure_connection()
            refused = raised(pool.acquire, block=False)
        with pool.acquire(block=True) as second:
            same = second is first
        pool.force_close_all()
        return [same, refused]


@case(["a", "b"])
def producers_come_from_a_pool(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        for body in "ab":
            with pools.producers[connection].acquire(block=True) as producer:
                producer.publish(body, routing_key=name, declare=[Queue(name)], retry=True)
        return rest(connection.default_channel, name)


@case(["a"])
def a_producer_tries_again_and_may_ask_for_a_confirmation(app: Celery, name: str) -> Any:
    policy = {"max_retries": 3, "interval_start": 0}
    with connected(app, transport_options={"confirm_publish": True}) as connection, Producer(connection) as producer:
        producer.publish("a", routing_key=name, declare=[Queue(name)], retry=True, retry_policy=policy)
        return rest(connection.default_channel, name)


@case(["OperationalError", "OperationalError"])
def nobody_answers_at_another_address(app: Celery, name: str) -> Any:
    with Connection("redis://127.0.0.1:1/0", connect_timeout=1) as connection:
        with Producer(connection) as producer:
            policy = {"max_retries": 1, "interval_start": 0}
            wanted = raised(producer.publish, "a", routing_key=name, retry=True, retry_policy=policy)
        return [wanted, raised(connection.ensure_connection, max_retries=1, interval_start=0)]


@case([False, None, True])
def heartbeats_are_not_of_this_transport(app: Celery, name: str) -> Any:
    with connected(app, heartbeat=1) as connection:
        connection.ensure_connection()
        return [connection.supports_heartbeats, connection.heartbeat_check(), connection.connected]


@case([True, ["a"]])
def a_closed_connection_connects_again(app: Celery, name: str) -> Any:
    connection = connected(app)
    fill(connection.default_channel, name, "a")
    connection.close()
    closed = not connection.connected
    clone = connection.clone()
    got = rest(clone.default_channel, name)
    clone.release()
    return [closed, got]


@case(["a"])
def a_lost_connection_is_made_again(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, name, "a")
        channel.client.connection_pool.disconnect()
        return rest(channel, name)


@case(["a", "b"])
def a_thread_of_the_task_consumes(app: Celery, name: str) -> Any:
    got: list[Any] = []
    ready = threading.Event()

    def consume() -> None:
        with connected(app) as connection, consuming(connection.default_channel, name, ack=True) as messages:
            ready.set()
            drain(connection, 2)
            got.extend(bodies(messages))

    thread = threading.Thread(target=consume)
    thread.start()
    ready.wait(PATIENCE)
    with connected(app) as connection:
        fill(connection.default_channel, name, "a", "b")
    thread.join(PATIENCE)
    return got


@case([["a"], 0])
def a_forked_child_uses_the_broker(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        fill(connection.default_channel, f"{name}.1", "a")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with connected(app) as connection, consuming(connection.default_channel, f"{name}.1", ack=True) as got:
                drain(connection, 1)
                fill(connection.default_channel, f"{name}.2", *bodies(got))
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with connected(app) as connection:
        return [rest(connection.default_channel, f"{name}.2"), status]


@case([["from outside"], 0])
def another_program_uses_the_broker(app: Celery, name: str) -> Any:
    script = (
        "import sys, kombu\n"
        "with kombu.Connection(sys.argv[1]) as connection, connection.SimpleQueue(sys.argv[2]) as queue:\n"
        "    queue.put('from outside')\n"
    )
    with connected(app) as connection:
        code = subprocess.run([sys.executable, "-c", script, connection.as_uri(), name], check=False, timeout=60).returncode
        return [rest(connection.default_channel, name), code]


@case([["a", "b"], 2])
def a_consumer_mixin_runs_until_it_should_stop(app: Celery, name: str) -> Any:
    class Service(ConsumerMixin):
        def __init__(self, connection: Any) -> None:
            self.connection = connection
            self.got: list[Any] = []

        def get_consumers(self, consumer: Any, channel: Any) -> list[Any]:
            return [consumer([Queue(name)], on_message=self.take)]

        def take(self, message: Any) -> None:
            message.ack()
            self.got.append(message.decode())
            self.should_stop = len(self.got) == 2

    with connected(app) as connection:
        fill(connection.default_channel, name, "a", "b")
        service = Service(connection)
        service.run()
        return [service.got, len(service.got)]


@case(["a", "b"])
def messages_are_iterated(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, name, "a", "b")
        return [body for body, _ in common.itermessages(connection, channel, Queue(name), limit=2, timeout=PATIENCE, no_ack=True)]


@case([["a"], "TimeoutError"])
def an_event_loop_of_kombu_ends_with_its_limit(app: Celery, name: str) -> Any:
    with connected(app) as connection, consuming(connection.default_channel, name, no_ack=True) as got:
        fill(connection.default_channel, name, "a")
        list(common.eventloop(connection, limit=1, timeout=PATIENCE))
        return [bodies(got), raised(lambda: list(common.eventloop(connection, limit=1, timeout=SHORT)))]


@case({"answer": 42})
def a_reply_comes_to_its_own_queue(app: Celery, name: str) -> Any:
    exchange = Exchange(f"{name}.replies", "direct")
    replies = Queue(f"{name}.reply", exchange, f"{name}.reply", exclusive=True, auto_delete=True)

    def serve() -> None:
        with connected(app) as connection:
            got: list[Any] = []
            with Consumer(connection.default_channel, [Queue(name)], on_message=got.append, no_ack=True):
                drain(connection, 1)
            with Producer(connection) as producer:
                common.send_reply(exchange, got[0], {"answer": 42}, producer)

    server = threading.Thread(target=serve)
    server.start()
    with connected(app) as connection:
        channel = connection.default_channel
        replies(channel).declare()
        fill(channel, name, {"question": 6}, reply_to=replies.routing_key, correlation_id=name)
        answers = common.collect_replies(connection, channel, replies, limit=1, timeout=PATIENCE)
        answer = next(iter(answers))
    server.join(PATIENCE)
    return answer
