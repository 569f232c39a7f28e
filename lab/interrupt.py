"""SIGINT and SIGTERM as a flag, so that a command ends the processes that it started before it ends itself."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import InterruptedByUserError


class Stop:
    """Set once the user interrupts. Every wait of the lab goes through `sleep`."""

    def __init__(self) -> None:
        """Not set."""
        self._event = threading.Event()

    def set(self) -> None:
        """Ask all waits to end."""
        self._event.set()

    def check(self) -> None:
        """Raise `InterruptedByUserError` if set."""
        if self._event.is_set():
            raise InterruptedByUserError

    def sleep(self, seconds: float) -> None:
        """Wait `seconds`. Raises `InterruptedByUserError` as soon as set."""
        self._event.wait(seconds)
        self.check()


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Within the context, SIGINT, SIGTERM and SIGHUP set the `Stop` that it yields, and do nothing else.

    An exception from a signal handler could come between the start of a QEMU and the line that records it.
    """
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
