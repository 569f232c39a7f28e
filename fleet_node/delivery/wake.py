"""What wakes a loop from other threads."""

from __future__ import annotations

import os
from contextlib import suppress


class Wake:
    """A pipe that ends the wait of a loop, from any thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._rung = False

    def fileno(self) -> int:
        """What to poll."""
        return self._read

    def ring(self) -> None:
        """End the wait."""
        if not self._rung:
            self._rung = True
            os.write(self._write, b".")

    def clear(self) -> None:
        """The loop has noticed, and is about to do what there is."""
        with suppress(BlockingIOError):
            os.read(self._read, 64)
        self._rung = False  # last: a ring before the read would be read, and none would follow it
