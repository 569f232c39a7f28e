"""What a worker holds, and what has ended: state of one worker process, in memory alone."""

from __future__ import annotations

import logging
import os
import uuid
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime
from typing import Any

from fleet_node.delivery.keys import Keys, holder_of

ORPHANS_AFTER = (0, 15, 60, 180)
"""Seconds after a lost connection at which a worker looks for messages that never came. What was sent over a network that was cut
may arrive when it is mended."""
ENDED = ("Z", "X")
"""States of processes that have ended."""
MOST_ACKS = 500
"""Acknowledgements in one script. Lua's `unpack` has a limit."""


_log = logging.getLogger("celery.worker.fleet")


class Holdings:
    """Of one worker, over all of its connections to the broker. Threads of a pool may acknowledge.

    node: its name among Celery's workers. lease: in seconds; None if there is none.
    """

    def __init__(self, node: str, lease: float | None, keys: Keys) -> None:
        self.node, self.lease, self.keys = node, lease, keys
        self.held: dict[str, bool] = {}
        """Delivery tags of what is held and has not ended, in the order in which it was taken."""
        self.holder = self._new_holder()
        self.swept = False
        """Whether others have been given what this worker held, and it has no lease yet as another holder."""
        self._look_at: list[float] = []
        self.renewed_at = float("-inf")
        """Seconds since the machine's start at which the lease was renewed."""
        self._ended: deque[str] = deque()
        self._sent_before: set[str] = set()
        """Acknowledgements that Redis was sent and has not answered."""
        self._remarks: deque[tuple[int, str]] = deque(maxlen=100)
        self._offset = 0.0

    def remark(self, level: int, text: str) -> None:
        """Something for the log, from a thread of the system: in gevent and eventlet it must not wait for the log's lock."""
        self._remarks.append((level, text))

    def write_log(self) -> None:
        """Write the remarks. For the worker's main loop."""
        while self._remarks:
            _log.log(*self._remarks.popleft())

    def hold(self, tag: str) -> None:
        """A message is written down for this worker."""
        self.held[tag] = True

    def end(self, tag: str) -> None:
        """A message is to be acknowledged."""
        self._ended.append(tag)  # first: to be in neither is to be an orphan
        self.held.pop(tag, None)

    @property
    def has_ended(self) -> bool:
        """Whether there is something to acknowledge."""
        return bool(self._ended)

    def ended(self) -> list[str]:
        """Take the tags to acknowledge now."""
        tags: list[str] = []
        while len(tags) < MOST_ACKS:
            try:
                tags.append(self._ended.popleft())
            except IndexError:
                break
        return tags

    def knows(self, tag: str) -> bool:
        """Whether a message is held, or is to be acknowledged."""
        return tag in self.held or tag in self._ended

    def not_acknowledged(self, tags: Iterable[str]) -> None:
        """It is not known whether Redis has these acknowledgements: they are sent again, which changes nothing if it has."""
        self._ended.extendleft(tags)
        self._sent_before.update(tags)

    def acknowledged(self, tags: Iterable[str], unknown: Iterable[str]) -> int:
        """Redis has answered acknowledgements. unknown: those whose messages were not this holder's any more. Returns of how many
        of them others have been given the message: the rest may have been acknowledged when they were sent before."""
        others = len(set(unknown) - self._sent_before)
        self._sent_before.difference_update(tags)
        return others

    def is_uncertain(self) -> None:
        """Redis may have written messages down, or may do so soon, that never came here: a connection was lost."""
        self._look_at = [uptime() + seconds for seconds in ORPHANS_AFTER]

    def is_time_to_look(self) -> bool:
        """Whether to look for such messages now."""
        if not self._look_at or uptime() < self._look_at[0]:
            return False
        self._look_at.pop(0)
        return True

    def begin_again(self) -> None:
        """Be another holder: what the old one held belongs to others."""
        self.holder = self._new_holder()
        self._sent_before.clear()

    def entered(self) -> None:
        """Redis has given this holder its lease."""
        self.renewed_at, self.swept = uptime(), False

    def lost(self, holder: str) -> None:
        """Redis does not know this holder any more."""
        if holder == self.holder and not self.swept:
            text = f"the lease has ended: this worker said nothing for {self.lease or 0:g} s, and others are given what it held"
            self.remark(logging.CRITICAL, text)
            self.swept = True

    def set_clock(self, seconds: Any, microseconds: Any) -> float:
        """Redis says what time it is. Returns by how many seconds the clocks of Redis and of this machine have moved apart."""
        before, self._offset = self._offset, int(seconds) + int(microseconds) / 1e6 - uptime()
        return abs(self._offset - before)

    def now(self) -> float:
        """Redis's time, in seconds since 1970. Clocks of machines differ, and only this one counts."""
        return uptime() + self._offset

    def ends(self) -> float:
        """Redis's time at which a lease ends that is renewed now."""
        return self.now() + (float("inf") if self.lease is None else self.lease)

    def is_renewed(self) -> bool:
        """Whether the lease has not ended as far as this worker knows."""
        return self.lease is None or uptime() - self.renewed_at < self.lease

    def _new_holder(self) -> str:
        return holder_of(self.node, boot_id(), os.getpid(), started(os.getpid()), uuid.uuid4().hex[:12])


def uptime() -> float:
    """Seconds since the machine's start, with those for which it was suspended."""
    return clock_gettime(CLOCK_BOOTTIME)


def boot_id() -> str:
    """What is another one each time that a machine starts, and in each container that numbers its processes by itself."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return "-"


def started(pid: int) -> str:
    """When a process started, in ticks since the machine's start; empty if there is none, or a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in ENDED else fields[18]
    except (OSError, IndexError, ValueError):
        return ""
