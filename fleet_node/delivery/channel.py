"""The channel of the worker's own consumer connection: it fetches by script, and waits for a bell.

It sends one command at a time, and reads its answer when the event loop says that it is there: the script FETCH, or BZPOPMIN if
the queues were empty (`wakeup`).
"""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from celery.worker import state
from kombu.transport import redis as _kombu_redis
from kombu.utils import json as _json
from redis.exceptions import ResponseError

from fleet_node.delivery.holdings import uptime
from fleet_node.delivery.qos import FIRST, MOST, FleetQoS
from fleet_node.protocol import SENT_BEFORE

if TYPE_CHECKING:
    from fleet_node.delivery.delivery import Delivery

kombu_redis: Any = _kombu_redis  # kombu's types are unfinished
json: Any = _json

MOST_BYTES = 200_000
"""Bytes that one fetch should take, by the size of the messages before: Redis does nothing else meanwhile."""
GATHER = 0.005
"""Seconds, at most, for which a worker that has enough to do gathers ends of tasks before it tells Redis. A fetch costs its main
process about 100 microseconds, which is a third of what a short task costs it."""
LOOK_ANYWAY = 60.0
"""Seconds after which a worker fetches although no bell has rung and the listener is there."""
SLACK = 10
"""Seconds after which an answer that is due is not waited for any more, and the connection is dropped."""

_log = logging.getLogger("celery.worker.fleet")


class FleetChannel(kombu_redis.Channel):  # type: ignore[misc]
    """kombu calls what does not begin with `fleet`."""

    QoS = FleetQoS
    fleet: Delivery

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._fleet_waits = self._fleet_drained = self._fleet_woken = False
        self._fleet_lists: list[tuple[str, str]] = []
        self._fleet_sent: list[str] = []
        self._fleet_inbox: deque[tuple[str, str | None, float, bytes]] = deque()
        self._fleet_size, self._fleet_queue = 1000.0, ""
        self._fleet_most, self._fleet_due = 0, float("inf")
        self._fleet_gathered_at: float | None = None
        self._fleet_fetched_at = float("-inf")
        super().__init__(*args, **kwargs)

    def fleet_count(self) -> int:
        """How many messages count for the prefetch limit. Of the first channel, that of tasks: of earlier connections, too."""
        if self.channel_id != FIRST:
            return len(self.qos.fleet_own())
        others = (channel.qos.fleet_own() for channel in self._fleet_channels() if channel is not self and channel._qos)
        return len(self.fleet.holdings.held) - sum(map(len, others))

    def fleet_undelivered(self) -> list[str]:
        """Delivery tags of what has come and is not delivered, which never will be."""
        tags = [tag for _, tag, _, _ in self._fleet_inbox if tag is not None]
        self._fleet_inbox.clear()
        return tags

    def _fleet_channels(self) -> tuple[Any, ...]:
        """All channels of the connection: the app's bootsteps may have some."""
        return tuple(self.connection.cycle._channels)

    def fleet_is_fetching(self) -> bool:
        """Whether messages may be on their way."""
        return bool(self._fleet_inbox or (self._in_poll and not self._fleet_waits))

    def fleet_is_busy(self) -> bool:
        """Whether there is something to do besides fetching."""
        to_say = self.fleet.has_rejected or (self._fleet_lists and self.fleet.holdings.has_ended)
        return bool(self._in_poll or self._fleet_inbox or to_say)

    def fleet_step(self) -> None:
        """Send the next command, if the last one is answered, and if Redis has not just refused one."""
        self.fleet.holdings.write_log()
        if self._fleet_inbox:
            self._fleet_deliver()
        if not self.fleet.refusals.is_refused:
            try:
                self._fleet_next()
            except ResponseError as error:
                self.fleet.refusals.refused(error)

    def _fleet_next(self) -> None:
        if self._in_poll:
            if self._fleet_waits and self.fleet.holdings.has_ended:
                self.fleet.acknowledge()
            if uptime() > self._fleet_due:
                _log.warning("Redis has not answered for %s s: the connection is dropped", SLACK)
                self._in_poll.disconnect()
            return
        self.fleet.give_back_rejected()
        if not any(channel.fleet_is_fetching() for channel in self._fleet_channels()):
            self.fleet.look_for_orphans()
        room = self._qos_room()
        if room <= 0 and not self.fleet.holdings.has_ended:
            return
        cycle = self.connection.cycle
        if not cycle._client_registered(self, self.client, "BRPOP"):
            cycle._register(self, self.client, "BRPOP")
        if room > 0 and self._fleet_drained and not self.fleet.holdings.has_ended:
            self._fleet_wait()
        elif not self._fleet_gathers():
            self._fleet_fetch(0 if self._fleet_drained else max(0, room))

    def _qos_room(self) -> int:
        if not self.active_queues or not self.fleet.admission.may_take():
            return 0
        return int(self.qos.fleet_room())

    def _fleet_gathers(self) -> bool:
        """Whether to wait for more ends of tasks before the next fetch: each process of the pool has another task already. Tasks
        that wait for their ETA are none that it has."""
        loop = self.connection.fleet_loop
        if loop is None or self._fleet_drained or len(state.reserved_requests) < 2 * int(self.fleet.worker.concurrency):
            return False
        now = uptime()
        if self._fleet_gathered_at is None:
            self._fleet_gathered_at = now
            loop.call_later(GATHER, self._fleet_gathered)
        return now - self._fleet_gathered_at < GATHER

    def _fleet_gathered(self) -> None:
        """The time is over. The loop may have come by a moment before, and now waits for something else."""
        if self._fleet_gathered_at is not None and not self._closing:
            self.fleet_step()

    def _fleet_fetch(self, room: int) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues)) if room else []
        prefix, keys = self.global_keyprefix, self.fleet.holdings.keys
        self._fleet_lists = [
            (queue, prefix + self._q_for_pri(queue, priority)) for priority in self.priority_steps for queue in queues
        ] or self._fleet_lists
        self.fleet.wakeup.consumes(self.channel_id, self._fleet_lists)
        self._fleet_gathered_at, self._fleet_fetched_at = None, uptime()
        self._fleet_most = most = min(room, MOST, max(1, int(MOST_BYTES / self._fleet_size)))
        self._fleet_sent = self.fleet.holdings.ended()
        names = [name for _, name in self._fleet_lists]
        ends = [self.fleet.routing(queue) for queue, _ in self._fleet_lists]
        holder, tags = self.fleet.holdings.holder, self._fleet_sent
        named = (keys.unacked, keys.index, keys.held(holder), keys.workers, keys.marks, keys.ages, *names)
        command = (self.fleet.fetch, len(named), *named)
        self._fleet_send(0, "EVALSHA", *command, f"{self.fleet.holdings.now():.6f}", most, len(tags), holder, *tags, *ends)

    def _fleet_wait(self) -> None:
        self._fleet_waits = True
        bells = [self.fleet.holdings.keys.bell(queue) for queue in self._queue_cycle.consume(len(self.active_queues))]
        patience = self.fleet.wakeup.patience
        self._fleet_send(patience, "BZPOPMIN", *bells, self.fleet.holdings.keys.bell(self._fleet_own_bell), patience)

    def _fleet_send(self, patience: int, *command: Any) -> None:
        self._in_poll, self._brpop_sent_at = self.client.connection, monotonic()
        self.brpop_timeout = patience + SLACK  # kombu 5.7 drops a connection that is silent for longer
        self._fleet_due = uptime() + patience + SLACK
        self.client.connection.send_command(*command)

    def _brpop_start(self, timeout: Any = None) -> None:
        """kombu's name for fleet_step."""
        self.fleet_step()

    def _brpop_read(self, **options: Any) -> bool:
        """The answer is there. Returns whether it was a message."""
        try:
            answer = self.client.parse_response(self.client.connection, "FLEET", **options)
        except ResponseError as error:
            self._fleet_not_done()
            self._fleet_refused(error)
            return False
        except self.connection_errors:
            self._fleet_not_done()
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
            getattr(self, "_flush_brpop_reauth", bool)()
        self.fleet.refusals.accepted()
        if self._fleet_waits:
            self._fleet_waits, self._fleet_woken = False, answer is not None
            self._fleet_drained = not self._fleet_woken and self.fleet.wakeup.is_listened and self._fleet_is_fresh()
        else:
            self._fleet_take_in(answer)
            self._fleet_deliver()
        return bool(self._fleet_inbox)

    def _fleet_is_fresh(self) -> bool:
        """Whether the last fetch, which found nothing, was not long ago."""
        return uptime() - self._fleet_fetched_at < LOOK_ANYWAY

    def _fleet_refused(self, error: ResponseError) -> None:
        if not str(error).startswith("NOSCRIPT"):
            self.fleet.refusals.refused(error)
            return
        try:
            self.fleet.load()
        except ResponseError as refusal:
            self.fleet.refusals.refused(refusal)

    def _fleet_take_in(self, answer: Any) -> None:
        unknown, drained, *messages = answer
        self.fleet.acknowledged(self._fleet_sent, map(decoded, unknown))
        self._fleet_sent = []
        self._fleet_drained = (drained > 0 or (self._fleet_most == 0 and self._fleet_drained)) and self._fleet_looked_everywhere()
        if drained < 0:
            self.fleet.holdings.lost(self.fleet.holdings.holder)
        sent = 0.0
        for index in range(0, len(messages), 3):
            number, tag, content = messages[index : index + 3]
            queue, _ = self._fleet_lists[number]
            tag = decoded(tag)
            if tag is not None:
                if "\n" in tag:
                    tag, _, milliseconds = tag.partition("\n")
                    sent = int(milliseconds) / 1000
                self.fleet.holdings.hold(tag)
            self._fleet_size += (len(content) - self._fleet_size) / 8
            self._queue_cycle.rotate(queue)
            self._fleet_inbox.append((queue, tag, sent, content))
        if messages and self._fleet_woken and not drained:
            self.fleet.wakeup.ring(queue)  # there is more, for the next worker that waits
        self._fleet_woken = False

    def _fleet_looked_everywhere(self) -> bool:
        """Whether the last fetch was of all queues: a new one may have come since it was sent."""
        return {queue for queue, _ in self._fleet_lists}.issuperset(self.active_queues)

    def _fleet_deliver(self) -> None:
        while self._fleet_inbox and not self._closing:
            queue, tag, sent, content = self._fleet_inbox.popleft()
            try:
                message = json.loads(content)
                written_as = message["properties"]["delivery_tag"]
                message["properties"][SENT_BEFORE] = sent or None
            except (ValueError, KeyError, TypeError):
                self.fleet.put_aside(tag, content)
                continue
            self._fleet_queue = queue
            self.connection._deliver(message, queue)
            if (tag is not None and tag != written_as) or (tag in self.fleet.holdings.held and not self._has(tag)):
                self.fleet.end(tag)  # another program's message, or a consumer that does not acknowledge

    def fleet_write_down(self, message: Any, tag: str) -> None:
        """Write a message down whose tag the script did not know."""
        priority = self._get_message_priority(message._raw, reverse=False)
        name = self.global_keyprefix + self._q_for_pri(self._fleet_queue, priority)
        self.fleet.write_down(tag, name, json.dumps([message._raw, "", self._fleet_queue]))

    def _has(self, tag: str) -> bool:
        """Whether a consumer has a message: one of another channel, if the app has put it into this one's place."""
        return any(tag in channel.qos._delivered for channel in (self, *self._fleet_channels()))

    def _fleet_not_done(self) -> None:
        """It is not known whether Redis has done what it was asked."""
        self.fleet.holdings.not_acknowledged(self._fleet_sent)
        if not self._fleet_waits:
            self.fleet.holdings.is_uncertain()
        self._fleet_sent, self._fleet_waits = [], False

    def _on_connection_disconnect(self, connection: Any) -> None:
        if self._in_poll is connection and self._in_poll:
            self._fleet_not_done()
        super()._on_connection_disconnect(connection)

    def _update_queue_cycle(self) -> None:
        super()._update_queue_cycle()
        self._fleet_drained = False
        if self._fleet_waits:
            self.fleet.wakeup.ring(self._fleet_own_bell)

    @property
    def _fleet_own_bell(self) -> str:
        return f"{self.fleet.holdings.holder}.{self.channel_id}"

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        self._fleet_queue = queue
        return super().basic_get(queue, no_ack, **kwargs)

    def close(self) -> None:
        self.fleet.wakeup.consumes(self.channel_id, ())
        if self._in_poll and self._fleet_waits:
            self.client.connection.disconnect()  # kombu would wait for the answer
        super().close()


def decoded(tag: Any) -> Any:
    """A delivery tag of an answer, which a connection may leave in bytes."""
    return tag.decode() if isinstance(tag, bytes) else tag
