"""What kombu's Redis transport has been given and has not acknowledged, for the worker's own channel."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as _kombu_redis
from kombu.transport.virtual import QoS as _VirtualQoS

kombu_redis: Any = _kombu_redis  # kombu's types are unfinished
VirtualQoS: Any = _VirtualQoS

MOST = 32
"""Messages in one fetch."""
FIRST = 1
"""The number of a connection's first channel."""


class FleetQoS(kombu_redis.QoS):  # type: ignore[misc]
    """Acknowledgements go through the worker's Delivery."""

    def can_consume(self) -> bool:
        return self.fleet_room() > 0

    def fleet_room(self) -> int:
        """How many messages may be taken."""
        if not self.prefetch_count:
            return MOST
        return int(self.prefetch_count) - int(self.channel.fleet_count())

    def fleet_own(self) -> list[Any]:
        """Delivery tags of what has come on this channel and is not acknowledged, in its order."""
        return [tag for tag in tuple(self._delivered) if tag not in self._dirty]

    def append(self, message: Any, delivery_tag: Any) -> None:
        """A message is delivered. Most are written down by the script already."""
        if delivery_tag not in self.channel.fleet.holdings.held:
            self.channel.fleet_write_down(message, delivery_tag)
        VirtualQoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: Any) -> None:
        self.channel.fleet.end(delivery_tag)
        VirtualQoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        if requeue:
            self.channel.fleet.reject(delivery_tag)
            VirtualQoS.ack(self, delivery_tag)
        else:
            self.ack(delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """The channel closes. A worker that has lost its connection goes on with what it has begun, and keeps its lease."""
        self._on_collect.cancel()
        alone = self.channel in self.channel.connection.channels  # and not with its connection
        if alone and self.channel.channel_id != FIRST:  # it is of a bootstep of the app's
            self.restore_unacked()
            return
        self._delivered.clear()
        if self.channel.fleet.is_ending():
            self.channel.fleet.give_back_all()

    def restore_unacked(self, client: Any = None) -> None:
        """`recover`, which Celery does not call."""
        self.channel.fleet.give_back(reversed([*self.fleet_own(), *self.channel.fleet_undelivered()]))
        self._delivered.clear()

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """`lease` does it."""
