"""Progress for the user: a line for each event, and a sign of life in between."""

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.status import Status

HEARTBEAT_S = 15


class Progress:
    """Lines on stderr with the seconds since the start. A terminal also shows a live line; elsewhere a line every 15 seconds
    names what the command waits for."""

    def __init__(self) -> None:
        """Start counting."""
        self._started = time.monotonic()
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Status | None = None
        self._doing: dict[str, str] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def event(self, text: str) -> None:
        """Print a line about an event."""
        self._console.print(f"[{self.seconds:4.0f} s] {text}", markup=False)

    def doing(self, who: str, what: str | None) -> None:
        """Note what `who` ("web1", "image") does now; None if it is done."""
        with self._lock:
            if what is None:
                self._doing.pop(who, None)
            else:
                self._doing[who] = what

    def line(self) -> str:
        """All current work, in one line."""
        with self._lock:
            return ", ".join(f"{who}: {what}" for who, what in self._doing.items()) or "working"

    def _beat(self) -> None:
        while not self._end.wait(0.5 if self._live else HEARTBEAT_S):
            if self._live:
                self._live.update(f"{self.seconds:.0f} s  {self.line()}")
            else:
                self.event(f"... {self.line()}")

    def __enter__(self) -> "Progress":
        """Begin the signs of life."""
        if sys.stderr.isatty():
            self._live = self._console.status("working")
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End them."""
        self._end.set()
        self._thread.join()
        if self._live:
            self._live.stop()
