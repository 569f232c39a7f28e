"""Names of the keys in the broker's database. An app's `global_keyprefix` comes before each of them."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_node.protocol import AGES, BELL, CONSUMED, HELD, LEFT, MARKS, SIGNS, WORKERS


@dataclass(frozen=True)
class Keys:
    """Keys of a broker. prefix: the app's global_keyprefix. unacked, unacked_index: kombu's, without the prefix."""

    prefix: str = ""
    unacked_key: str = "unacked"
    index_key: str = "unacked_index"

    @property
    def unacked(self) -> str:
        """Hash: delivery tag → [message, exchange, routing key]. kombu's."""
        return self.prefix + self.unacked_key

    @property
    def index(self) -> str:
        """Sorted set: delivery tag → seconds since 1970 at which a worker last said that it has the message. kombu's."""
        return self.prefix + self.index_key

    @property
    def workers(self) -> str:
        """See protocol.WORKERS."""
        return self.prefix + WORKERS

    @property
    def swept(self) -> str:
        """Sorted set: holder whose lease has ended → Redis's time at which a worker began to give back what it held."""
        return f"{self.prefix}fleet.swept"

    @property
    def signs(self) -> str:
        """See protocol.SIGNS."""
        return self.prefix + SIGNS

    @property
    def left(self) -> str:
        """See protocol.LEFT."""
        return self.prefix + LEFT

    @property
    def listener(self) -> str:
        """String that ends by itself: the holder that rings the bells."""
        return f"{self.prefix}fleet.listener"

    @property
    def lists(self) -> str:
        """See protocol.CONSUMED."""
        return self.prefix + CONSUMED

    @property
    def ages(self) -> str:
        """See protocol.AGES."""
        return self.prefix + AGES

    @property
    def marks(self) -> str:
        """See protocol.MARKS."""
        return self.prefix + MARKS

    @property
    def unreadable(self) -> str:
        """List: messages that are no JSON, as they were."""
        return f"{self.prefix}fleet.unreadable"

    def held(self, holder: str) -> str:
        """See protocol.HELD."""
        return f"{self.prefix}{HELD}{holder}"

    def bell(self, name: str) -> str:
        """See protocol.BELL. name: of the queue, or "<holder>.<channel>" for the one that a worker's channel has for itself."""
        return f"{self.prefix}{BELL}{name}"

    def channel(self, database: int) -> str:
        """Channel on which the listener says every two seconds that it lives. Channels are not of a database."""
        return f"{self.prefix}fleet.listener.{database}"


def holder_of(node: str, boot: str, pid: int, start: str, token: str) -> str:
    """The name of one process of a worker, never to be had by another one."""
    return "|".join((node, boot, str(pid), start, token))


def node_of(holder: str) -> str:
    """The node of a holder."""
    return holder.rsplit("|", 4)[0]


def process_of(holder: str) -> tuple[str, int, str]:
    """(boot, pid, start) of a holder."""
    boot, pid, start = holder.rsplit("|", 4)[1:4]
    return boot, int(pid), start
