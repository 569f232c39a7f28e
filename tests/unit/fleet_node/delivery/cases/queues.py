"""Queues, exchanges, consumers and acknowledgements on connections of the case's own."""

from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from typing import Any

from celery import Celery
from kombu import Consumer, Exchange, Producer, Queue

from tests.unit.fleet_node.delivery.cases import (
    PATIENCE,
    SHORT,
    bodies,
    case,
    connected,
    consuming,
    drain,
    drain_all,
    fill,
    raised,
    rest,
    written_down,
)


@case(["first", "second", 1])
def a_simple_queue_gives_what_was_put(app: Celery, name: str) -> Any:
    with connected(app) as connection, connection.SimpleQueue(name) as queue:
        queue.put("first")
        queue.put("second")
        got = []
        for _ in range(2):
            message = queue.get(timeout=PATIENCE)
            got.append(message.payload)
            message.ack()
        queue.put("third")
        got.append(queue.qsize())
        queue.clear()
        return got


@case(["Empty", "Empty"])
def an_empty_simple_queue_says_so_after_its_timeout(app: Celery, name: str) -> Any:
    with connected(app) as connection, connection.SimpleQueue(name) as queue:
        return [raised(queue.get, timeout=SHORT), raised(queue.get_nowait)]


@case(["a", 0])
def a_simple_buffer_needs_no_acknowledgement(app: Celery, name: str) -> Any:
    with connected(app) as connection, connection.SimpleBuffer(name) as queue:
        queue.put("a")
        got = queue.get(timeout=PATIENCE).payload
    return [got, written_down(app, name)]


@case([[], 0])
def a_rejected_message_is_gone(app: Celery, name: str) -> Any:
    with connected(app) as connection, connection.SimpleQueue(name) as queue:
        queue.put("a")
        queue.get(timeout=PATIENCE).reject()
        return [rest(queue.channel, name), written_down(app, name)]


@case([["a", True], 0])
def a_requeued_message_comes_again(app: Celery, name: str) -> Any:
    with connected(app) as connection, connection.SimpleQueue(name) as queue:
        queue.put("a")
        queue.get(timeout=PATIENCE).requeue()
        message = queue.get(timeout=PATIENCE)
        message.ack()
        return [[message.payload, message.delivery_info["redelivered"]], written_down(app, name)]


@case([2, 3, 1])
def what_is_rejected_with_requeue_is_the_last(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, name, 1, 2, 3)
        channel.basic_get(name).reject(requeue=True)
        return rest(channel, name)


@case([[2, 1, 3], [True, True, None]])
def a_closed_channel_gives_back_what_was_not_acknowledged(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.channel()
        fill(channel, name, 1, 2, 3)
        with consuming(channel, name, prefetch_count=2) as got:
            drain(connection, 2)
        assert bodies(got) == [1, 2]
        channel.close()
        with consuming(connection.channel(), name, no_ack=True) as got:
            drain(connection, 3)
        return [bodies(got), [message.delivery_info.get("redelivered") for message in got]]


@case(["a", 0])
def a_closed_connection_gives_back_what_was_not_acknowledged(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        fill(connection.default_channel, name, "a")
        with consuming(connection.default_channel, name):
            drain(connection, 1)
    with connected(app) as connection:
        return [*rest(connection.default_channel, name), written_down(app, name)]


@case("TimeoutError")
def drain_events_waits_for_its_timeout(app: Celery, name: str) -> Any:
    with connected(app) as connection, consuming(connection.default_channel, name):
        return raised(connection.drain_events, timeout=SHORT)


@case("TimeoutError")
def drain_events_of_a_fanout_waits_for_its_timeout(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        queue = Queue(f"{name}.q", Exchange(name, "fanout"), exclusive=True)
        with consuming(connection.default_channel, queue):
            raised(connection.drain_events, timeout=SHORT)  # it subscribes
            return raised(connection.drain_events, timeout=SHORT)


@case([["a", "b"], 0])
def a_consumer_that_does_not_acknowledge_leaves_nothing_behind(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        fill(connection.default_channel, name, "a", "b")
        with consuming(connection.default_channel, name, no_ack=True) as got:
            drain(connection, 2)
            return [bodies(got), written_down(app, name)]


@case([3, 2, 0])
def what_a_consumer_has_is_written_down_until_it_is_acknowledged(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        fill(connection.default_channel, name, "a", "b", "c")
        with consuming(connection.default_channel, name) as got:
            drain(connection, 3)
            counts = [written_down(app, name)]
            got[0].ack()
            counts.append(written_down(app, name))
            for message in got[1:]:
                message.ack()
            counts.append(written_down(app, name))
    return counts


@case(["a", "b", None, 0])
def one_message_may_be_got(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, name, "a", "b")
        first = channel.basic_get(name)
        first.ack()
        second = channel.basic_get(name, no_ack=True)
        return [first.decode(), second.decode(), channel.basic_get(name), written_down(app, name)]


@case(["a", None])
def a_bound_queue_gets_one_message(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        queue = Queue(name)(connection.default_channel)
        fill(connection.default_channel, name, "a")
        return [queue.get(no_ack=True).payload, queue.get(no_ack=True)]


@case([2, 2, 0])
def a_queue_is_counted_and_purged(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, name, "a", "b")
        sizes = [channel.queue_declare(name, passive=True).message_count, channel.queue_purge(name)]
        return [*sizes, channel.queue_declare(name).message_count]


@case([0, "ChannelError"])
def a_queue_is_deleted(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        Queue(name, Exchange(name), "x")(channel).declare()
        fill(channel, name, "a")
        channel.queue_delete(name)
        left = channel.client.llen(name)
        return [left, raised(channel.queue_declare, name, passive=True)]


@case(["now", "soon", "later", "whenever"])
def priorities_decide(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        for priority, body in ((9, "whenever"), (3, "soon"), (0, "now"), (6, "later")):
            fill(channel, name, body, priority=priority)
        with consuming(channel, name, ack=True) as got:
            drain(connection, 4)
        return bodies(got)


@case([["a"], ["a", "b"]])
def a_direct_exchange_sends_to_all_that_are_bound(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel, exchange = connection.default_channel, Exchange(name, "direct")
        queues = [Queue(f"{name}.1", exchange, "x"), Queue(f"{name}.2", exchange, "x"), Queue(f"{name}.2", exchange, "y")]
        for queue in queues:
            queue(channel).declare()
        with Producer(channel, exchange) as producer:
            producer.publish("a", routing_key="x")
            producer.publish("b", routing_key="y")
        return [rest(channel, f"{name}.{number}") for number in (1, 2)]


@case([["eu"], ["eu", "eu.old"], []])
def a_topic_exchange_sends_by_pattern(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel, exchange = connection.default_channel, Exchange(name, "topic")
        patterns = ("stock.*", "stock.#", "price.*")
        queues = [Queue(f"{name}.{number}", exchange, pattern) for number, pattern in enumerate(patterns)]
        with Producer(channel, exchange) as producer:
            producer.publish("eu", routing_key="stock.eu", declare=list(queues))
            producer.publish("eu.old", routing_key="stock.eu.old")
        return [rest(channel, queue.name) for queue in queues]


@case([["a", "b"], ["a", "b"]])
def a_fanout_exchange_sends_to_everybody_who_listens(app: Celery, name: str) -> Any:
    exchange = Exchange(name, "fanout")
    with connected(app) as one, connected(app) as two:
        queues = [Queue(f"{name}.{number}", exchange, exclusive=True) for number in range(2)]
        channels = one.default_channel, two.default_channel
        with consuming(channels[0], queues[0], no_ack=True) as first, consuming(channels[1], queues[1], no_ack=True) as second:
            for connection in (one, two):
                raised(connection.drain_events, timeout=0.05)  # it subscribes
            with app.producer_pool.acquire(block=True) as producer:
                for body in "ab":
                    producer.publish(body, exchange=exchange, declare=[exchange])
            for connection, got in ((one, first), (two, second)):
                while len(got) < 2:  # one read may give both
                    connection.drain_events(timeout=PATIENCE)
            return [bodies(first), bodies(second)]


@case([2, 3])
def the_prefetch_limit_of_a_consumer_holds(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        fill(connection.default_channel, name, *range(5))
        with consuming(connection.default_channel, name, prefetch_count=2) as got:
            drain_all(connection, 2)
            counts = [len(got)]
            got[0].ack()
            drain_all(connection, 1)
            return [*counts, len(got)]


@case([1, 4])
def a_prefetch_limit_can_be_raised(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, name, *range(4))
        with consuming(channel, name, prefetch_count=1) as got:
            drain_all(connection, 1)
            counts = [len(got)]
            channel.basic_qos(0, 0, False)
            drain_all(connection, 3)
            return [*counts, len(got)]


@case([["a"], ["b"]])
def two_channels_of_one_connection_consume(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        one, two = connection.channel(), connection.channel()
        fill(one, f"{name}.1", "a")
        fill(two, f"{name}.2", "b")
        with consuming(one, f"{name}.1", ack=True) as first, consuming(two, f"{name}.2", ack=True) as second:
            drain(connection, 2)
            return [bodies(first), bodies(second)]


@case(["a", "b", "c", "d"])
def one_consumer_has_two_queues(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, f"{name}.1", "a", "b")
        fill(channel, f"{name}.2", "c", "d")
        with consuming(channel, f"{name}.1", f"{name}.2", ack=True) as got:
            drain(connection, 4)
        return sorted(bodies(got))


@case([["a"], "TimeoutError", True])
def a_cancelled_consumer_gets_nothing_more(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        got: list[Any] = []
        consumer = Consumer(channel, [Queue(name)], on_message=got.append, no_ack=True)
        consumer.consume()
        fill(channel, name, "a")
        drain(connection, 1)
        consumer.cancel()
        fill(channel, name, "b")
        return [bodies(got), raised(connection.drain_events, timeout=SHORT), rest(channel, name) == ["b"]]


@case([["a", "b"], False])
def a_queue_is_added_to_a_consumer_and_taken_away(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        got: list[Any] = []
        with Consumer(channel, [Queue(f"{name}.1")], on_message=got.append, no_ack=True) as consumer:
            fill(channel, f"{name}.1", "a")
            drain(connection, 1)
            consumer.add_queue(Queue(f"{name}.2"))
            consumer.consume()
            fill(channel, f"{name}.2", "b")
            drain(connection, 1)
            consumer.cancel_by_queue(f"{name}.2")
            return [bodies(got), consumer.consuming_from(f"{name}.2")]


@case(["a", "b"])
def recover_gives_back_what_was_not_acknowledged(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, name, "a", "b")
        for _ in range(2):
            channel.basic_get(name)
        channel.basic_recover(requeue=True)
        return sorted(rest(channel, name))


@case([["a"], 0])
def what_was_not_acknowledged_can_be_given_back(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, name, "a")
        with consuming(channel, name):
            drain(connection, 1)
        channel.qos.restore_unacked()
        return [rest(channel, name), written_down(app, name)]


@case([["a"], 0])
def an_own_visibility_timeout_on_own_keys_holds(app: Celery, name: str) -> Any:
    keys = {"unacked_key": f"{name}.unacked", "unacked_index_key": f"{name}.index", "visibility_timeout": 0}
    with connected(app, transport_options=keys) as connection:
        channel = connection.default_channel
        fill(channel, name, "a")
        channel.basic_get(name)
        channel.qos.restore_visible(num=10)
        return [rest(channel, name), channel.client.hlen(f"{name}.unacked")]


@case(["a", 0, 0])
def a_connection_may_do_without_acknowledgements(app: Celery, name: str) -> Any:
    with connected(app, transport_options={"ack_emulation": False}) as connection:
        fill(connection.default_channel, name, "a")
        with consuming(connection.default_channel, name) as got:
            drain(connection, 1)
            return [*bodies(got), written_down(app, name), connection.default_channel.client.llen(name)]


@case([["datetime", "UUID", "Decimal"], ["datetime", "UUID", "Decimal"]])
def bodies_and_headers_keep_their_types(app: Celery, name: str) -> Any:
    values = [datetime.datetime.now(datetime.UTC), uuid.uuid4(), Decimal("1.10")]
    with connected(app) as connection:
        fill(connection.default_channel, name, values, headers={"values": values})
        with consuming(connection.default_channel, name, ack=True) as got:
            drain(connection, 1)
        return [[type(value).__name__ for value in of] for of in (got[0].decode(), got[0].headers["values"])]


@case([1_000_000, 1_000_000])
def a_large_message_comes_whole_and_compressed(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        fill(connection.default_channel, name, "x" * 1_000_000)
        fill(connection.default_channel, name, "x" * 1_000_000, compression="gzip")
        with consuming(connection.default_channel, name, ack=True) as got:
            drain(connection, 2)
        return [len(body) for body in bodies(got)]


@case(["ff00", "ContentDisallowed", "{1}"])
def bytes_and_pickles_are_handled_as_the_consumer_says(app: Celery, name: str) -> Any:
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, name, b"\xff\x00", content_type="application/data", content_encoding="binary")
        fill(channel, name, {1}, {1}, serializer="pickle")
        with consuming(channel, name, ack=True) as got:
            drain(connection, 3)
        data, refused, accepted = got
        accepted.accept = {"application/x-python-serialize"}
        refused.accept = {"application/json"}
        return [bytes(data.body).hex(), raised(refused.decode), str(accepted.decode())]


@case([10, 10])
def two_consumers_share_a_queue_and_each_message_comes_once(app: Celery, name: str) -> Any:
    with connected(app) as one, connected(app) as two:
        fill(one.default_channel, name, *range(10))
        with consuming(one.default_channel, name, ack=True) as first, consuming(two.default_channel, name, ack=True) as second:
            for _ in range(5):
                one.drain_events(timeout=PATIENCE)
                two.drain_events(timeout=PATIENCE)
        everything = bodies(first) + bodies(second)
        return [len(everything), len(set(everything))]


@case(["a", 0, 1])
def what_another_program_has_put_into_a_queue_comes(app: Celery, name: str) -> Any:
    """With a delivery tag that is a number, as no kombu sends it."""
    with connected(app) as connection:
        channel = connection.default_channel
        fill(channel, name, "a")
        message = json.loads(channel.client.rpop(name))
        message["properties"]["delivery_tag"] = 7
        channel.client.lpush(name, json.dumps(message))
        with consuming(channel, name) as got:
            drain(connection, 1)
            count = written_down(app, name)
            got[0].ack()
        return [*bodies(got), written_down(app, name), count]
