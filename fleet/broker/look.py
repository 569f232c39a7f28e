"""What the broker knows of queues and of workers that are alive. Nothing is changed.

`python -m fleet.broker.look QUEUE…` reads the broker's URL on stdin, and prints a BrokerView as JSON (`fleet.broker.aside`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from fleet.broker import aside
from fleet.broker.port import opened
from fleet.broker.view import BrokerView, parse
from fleet.errors import FleetError

PATIENCE = 10.0
"""Seconds for the broker to answer."""


class LookError(FleetError):
    """The broker was not asked. str() says why."""


def look(url: str, queues: Iterable[str] = (), timeout: float = 60) -> BrokerView:
    """Ask in a process of its own. queues: of the fleet, which RabbitMQ is asked for by name. Raises LookError."""
    return parse(aside.ask("fleet.broker.look", url, timeout, LookError, *queues))


def ask(url: str) -> BrokerView:
    """Ask in this process. Raises AwayError."""
    with opened(url, patience=PATIENCE) as port:
        return port.view(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(aside.answer(ask, str))
