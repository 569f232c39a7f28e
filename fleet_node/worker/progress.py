"""What a worker is at, in words, and whether it gets on: decisions over plain values, which `fleet_node.vitals` makes known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """A worker at one moment. Tasks: busy run, reserved were fetched and have not begun, begun and done count since its start.

    paused: it holds tasks back, or fetches none, because of a limit. queues: what it consumes now. connected: it has its broker.
    away: why its device is not to be used.
    """

    slots: int
    busy: int
    reserved: int
    begun: int
    done: int
    queues: tuple[str, ...]
    connected: bool
    draining: bool = False
    paused: bool = False
    away: str = ""


def status(look: Look) -> str:
    """One line for `systemctl status`."""
    counts = f"{look.busy}/{look.slots} busy · {look.done:,} done"
    if look.draining:
        return f"draining: {look.busy} running, {look.reserved} reserved · {look.done:,} done"
    if look.away:
        return f"its device is away ({look.away}) · {counts}"
    if not look.connected:
        return f"its broker is away · {counts}"
    return f"{counts} · queues {','.join(look.queues)}" if look.queues else f"consumes nothing · {counts}"


class Progress:
    """Whether a worker gets on. stall: seconds that a task may wait before a worker with a free slot without one beginning."""

    def __init__(self, stall: float, now: float) -> None:
        self._stall, self._since, self._counts = stall, now, (0, 0)

    def stalled(self, look: Look, now: float, waiting: Callable[[], int | None]) -> str:
        """Why it counts as stalled; empty where it does not.

        waiting: how many messages its queues hold, None where the broker does not say. It is asked once the first half of `stall`
        is over, so that a worker with nothing to do hardly asks.
        """
        counts = (look.begun, look.done)
        full, off = look.busy >= look.slots, look.draining or look.paused or not look.queues
        if counts != self._counts or full or off:
            self._counts, self._since = counts, now
            return ""
        idle = now - self._since
        if idle < self._stall / 2:
            return ""
        ahead = look.reserved or waiting()
        if not ahead:  # nothing to do, or nobody knows: a broker that is away is no fault of the worker's
            self._since = now
            return ""
        if idle < self._stall:
            return ""
        held = f"{look.reserved} reserved" if look.reserved else f"{ahead} waiting in {','.join(look.queues)}"
        return f"nothing has begun for {idle:.0f} s, with {held} and {look.slots - look.busy} of {look.slots} slots free"
