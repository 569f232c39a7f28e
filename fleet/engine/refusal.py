"""A FleetError, as pyinfra knows errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from click import ClickException
from pyinfra import logger
from pyinfra.api.exceptions import PyinfraError

from fleet.errors import FleetError


class RefusedError(PyinfraError, ClickException):
    """Ends the run with exit 1. The text is printed as it is: neither a traceback nor a line of the engine's says more."""

    def show(self, file: Any = None) -> None:
        """Print it, as click asks."""
        logger.error(f"--> {self}")


@contextmanager
def refusing() -> Iterator[None]:
    """Turns a FleetError, or a file of this machine that cannot be read or written, into an error that pyinfra prints without a
    traceback, with exit 1."""
    try:
        yield
    except FleetError as error:
        raise RefusedError(str(error)) from None
    except OSError as error:
        raise RefusedError(explain_file(error)) from error


def explain_file(error: OSError) -> str:
    """Which file, and why."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


def refused(mistakes: str) -> str:
    """What a run says of mistakes in the settings, one a line."""
    lines = mistakes.splitlines()
    return "\n    ".join([f"{len(lines)} mistake(s), nothing was changed:", *lines])
