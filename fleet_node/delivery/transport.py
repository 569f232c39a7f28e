"""kombu's Redis transport, for the worker's own consumer connection: the fetching is replaced, and nothing else.

The classes are made for whichever transport the broker's URL has (Redis, TLS, Sentinel). In pools without Celery's event loop a
pipe wakes the loop if a task has ended.
"""

from __future__ import annotations

from functools import cache
from queue import Empty
from typing import TYPE_CHECKING, Any

from kombu.transport import redis as _kombu_redis

from fleet_node.delivery.channel import FleetChannel
from fleet_node.delivery.holdings import uptime
from fleet_node.delivery.wake import Wake

if TYPE_CHECKING:
    from fleet_node.delivery.delivery import Delivery

kombu_redis: Any = _kombu_redis  # kombu's types are unfinished


ASK_EVERY = 20.0
"""Seconds between two questions to Redis whether a connection for remote control is still there. If two are not answered, Celery
connects anew (kombu 5.7; older ones go by what the system says of the connection)."""


class FleetPoller(kombu_redis.MultiChannelPoller):  # type: ignore[misc]
    """Lets each channel that consumes queues do its next step whenever the event loop comes by."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet_bell: Wake | None = None
        self._fleet_asked_at = float("-inf")

    def on_poll_start(self) -> None:
        for channel in tuple(self._channels):
            if channel.active_queues or channel.fleet_is_busy():
                channel.fleet_step()
            else:  # a drained worker, too, has to know whether what it has is still its own
                channel.fleet.holdings.write_log()
                channel.fleet.admission.may_take()
            if channel.active_fanout_queues:
                self._register_LISTEN(channel)

    def on_poll_init(self, poller: Any) -> None:
        self.poller = poller

    def maybe_check_subclient_health(self) -> None:
        """One PING every so often on each connection for remote control. redis-py would send another when it reads the answer."""
        if uptime() - self._fleet_asked_at < ASK_EVERY:
            return
        self._fleet_asked_at = uptime()
        connections = [client.connection for channel in self._channels if (client := channel.__dict__.get("subclient"))]
        for connection in connections:
            if connection is not None:
                connection.next_health_check = 0.0
        super().maybe_check_subclient_health()
        for connection in connections:
            if connection is not None:
                connection.next_health_check = float("inf")  # until its answer is read

    def maybe_restore_messages(self) -> None:
        """`lease` does it."""

    def _update_brpop_polling(self) -> None:
        """kombu 5.7 holds answers back that this transport wants to read."""

    def on_readable(self, fileno: int) -> Any:
        if self.fleet_bell and fileno == self.fleet_bell.fileno():
            self.fleet_bell.clear()
            return True
        channel, kind = self._fd_to_chan.get(fileno, (None, None))
        return channel.handlers[kind]() if channel else None

    def handle_event(self, fileno: int, event: int) -> Any:
        if self.fleet_bell and fileno == self.fleet_bell.fileno():
            self.fleet_bell.clear()
            return True, self
        if fileno not in self._fd_to_chan:
            return None
        return super().handle_event(fileno, event)

    def get(self, callback: Any, timeout: float | None = None) -> None:
        """One round of the loop of pools that have no event loop of Celery's. A task that ends ends the wait."""
        if self.fleet_bell is None and self._channels:
            self.fleet_bell = next(iter(self._channels)).fleet.open_pipe()
            self.poller.register(self.fleet_bell.fileno(), kombu_redis.READ)
        self._in_protected_read = True
        try:
            getattr(self, "maybe_refresh_binding_expiry", bool)()
            self.on_poll_start()
            events = self.poller.poll(timeout)
            if not events:
                raise Empty
            for fileno, event in events:
                self.handle_event(fileno, event)
        finally:
            self._in_protected_read = False
            while self.after_read:
                self.after_read.pop()()


def take_over(connection: Any, delivery: Delivery) -> None:
    """Have a kombu connection use these classes, from its next channel on, and with whichever of its URLs."""
    original = connection.get_transport_cls

    def get_transport_cls() -> Any:
        emulated = connection.transport_options.get("ack_emulation", True)
        return transport_of(original(), delivery) if emulated else original()

    connection.get_transport_cls = get_transport_cls


@cache
def transport_of(base: Any, delivery: Delivery) -> Any:
    """The transport for a worker's consumer, made from kombu's for the URL. kombu's own if that is no Redis transport."""
    if not issubclass(base, kombu_redis.Transport):
        return base
    channel = type("FleetChannel", (FleetChannel, base.Channel), {"fleet": delivery})

    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, *args, **kwargs)
        self.cycle = FleetPoller()

    def register_with_event_loop(self: Any, connection: Any, loop: Any) -> None:
        base.register_with_event_loop(self, connection, loop)
        if not delivery.acknowledges_elsewhere():
            self.fleet_loop = loop
        else:
            pipe = delivery.open_pipe()
            loop.add_reader(pipe.fileno(), pipe.clear)

    more = {"Channel": channel, "fleet_loop": None, "__init__": make, "register_with_event_loop": register_with_event_loop}
    return type("FleetTransport", (base,), more)
