"""A lock, so that only one command works on a lab at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lab alone. Raises `LabError` if another command works on it: two commands would start a VM twice."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise LabError(f"another command works on lab {directory.name!r} now: wait for it or end it") from error
    finally:
        os.close(handle)
