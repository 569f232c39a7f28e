"""SIGINT and SIGTERM as a flag, so that a command ends what it started before it ends itself."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import InterruptedByUserError


class Stop:
    """Set once the user wants to end; every wait in the lab goes through it."""

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
        """Wait `seconds`; raises `InterruptedByUserError` at once when set."""
        self._event.wait(seconds)
        self.check()


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """While inside, SIGINT, SIGTERM and SIGHUP set the `Stop` that is given, and do nothing else.

    An exception out of a signal handler could come between a QEMU's start and the note that it was started.
    """
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
