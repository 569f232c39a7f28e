"""Threads of the system, in whichever pool. gevent and eventlet turn Python's threads into green ones, and a task that does not
yield stops all of those."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any

PATIENCE = 3.0
"""Seconds that a thread has to end when the process does."""


class Thread:
    """A thread that runs a function again and again until the process ends. step: does a bit of work, and returns the seconds
    until it is to be called again; it must not raise. end: is called in the thread when it is over."""

    def __init__(self, step: Callable[[], float], end: Callable[[], None]) -> None:
        self._step, self._end = step, end
        self._ending = False
        threads = original("_thread")
        self._over: Any = threads.allocate_lock()
        self._over.acquire()
        self._pid = os.getpid()
        threads.start_new_thread(self._run, ())
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the thread, and wait for it. A process that ends beside a thread with a loop of gevent's may crash."""
        if os.getpid() == self._pid and not self._ending:
            self._ending = True
            self._over.acquire(True, PATIENCE)

    def _run(self) -> None:
        clock = original("time")
        try:
            while not self._ending:
                wait_until = clock.monotonic() + self._step()
                while not self._ending and (left := wait_until - clock.monotonic()) > 0:
                    clock.sleep(min(left, 0.25))
        finally:
            self._end()
            if "gevent.hub" in sys.modules:
                sys.modules["gevent.hub"].get_hub().destroy(destroy_loop=True)
            self._over.release()


def thread_id() -> int:
    """Which thread of the system this is."""
    return int(original("_thread").get_ident())


def original(name: str) -> Any:
    """A module of the standard library as it is without gevent or eventlet."""
    if "gevent.monkey" in sys.modules:
        return _Unpatched(name)
    if "eventlet.patcher" in sys.modules:
        return sys.modules["eventlet.patcher"].original(name)
    return __import__(name)


class _Unpatched:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return sys.modules["gevent.monkey"].get_original(self._name, attribute)
