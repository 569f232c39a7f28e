"""What a worker does, in words, and whether it gets on: decisions over plain values, which `watchdog` gathers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Activity:
    """A worker at one moment. Numbers are tasks: busy run; reserved were fetched and have not begun; begun and done count since
    the worker's start.

    paused: the worker holds tasks back, or fetches none, because of a limit. queues: what it consumes now. connected: whether it
    has its broker. unavailable: why its device is not to be used.
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
    unavailable: str = ""


def status(activity: Activity) -> str:
    """One line for `systemctl status`."""
    counts = f"{activity.busy}/{activity.slots} busy · {activity.done:,} done"
    if activity.draining:
        return f"draining: {activity.busy} running, {activity.reserved} reserved · {activity.done:,} done"
    if activity.unavailable:
        return f"its device is away ({activity.unavailable}) · {counts}"
    if not activity.connected:
        return f"its broker is away · {counts}"
    return f"{counts} · queues {','.join(activity.queues)}" if activity.queues else f"consumes nothing · {counts}"


class Progress:
    """Whether a worker gets on.

    stall: seconds that a slot may sit idle while tasks wait.
    """

    def __init__(self, stall: float, now: float) -> None:
        self._stall, self._since, self._counts = stall, now, (0, 0)

    def stalled(self, activity: Activity, now: float, waiting: Callable[[], int | None]) -> str:
        """Why the worker counts as stalled; empty if it does not. That nothing began while its broker was away is no reason, then
        or afterwards.

        waiting: how many messages its queues hold, None if the broker does not say. It is called only when the first half of
        `stall` is over, so that an idle worker hardly asks the broker.
        """
        counts = (activity.begun, activity.done)
        full = activity.busy >= activity.slots
        off = activity.draining or activity.paused or not activity.queues or not activity.connected
        if counts != self._counts or full or off:
            self._counts, self._since = counts, now
            return ""
        idle = now - self._since
        if idle < self._stall / 2:
            return ""
        ahead = activity.reserved or waiting()
        if not ahead:  # no work, or no answer: a broker that is away is no fault of the worker's
            self._since = now
            return ""
        if idle < self._stall:
            return ""
        held = f"{activity.reserved} reserved" if activity.reserved else f"{ahead} waiting in {','.join(activity.queues)}"
        free = activity.slots - activity.busy
        return f"nothing has begun for {idle:.0f} s, with {held} and {free} of {activity.slots} slots free"
