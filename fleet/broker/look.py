"""What the broker knows of queues and of workers that are alive. Nothing is changed.

`python -m fleet.broker.look QUEUE…` reads the broker's URL on stdin, and prints a BrokerView as JSON (`fleet.broker.aside`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from fleet.broker import aside
from fleet.broker.management import Management, vhost_of
from fleet.broker.port import opened
from fleet.broker.view import BrokerView, parse
from fleet.errors import FleetError

PATIENCE = 10.0
"""Seconds for the broker to answer."""


class LookError(FleetError):
    """The broker was not asked. str() says why."""


def look(url: str, queues: Iterable[str] = (), timeout: float = 60, management: Management | None = None) -> BrokerView:
    """Ask in a process of its own. queues: of the fleet, which RabbitMQ is asked for by name. management: of our own RabbitMQ,
    which lists the others. Raises LookError."""
    listed: set[str] | None = None
    if management:
        with suppress(OSError):
            listed = management.queues_of_tasks(vhost_of(url))
    view = parse(aside.ask("fleet.broker.look", url, timeout, LookError, *sorted({*queues, *(listed or ())})))
    return view if listed is None else replace(view, whole=True)


def ask(url: str) -> BrokerView:
    """Ask in this process. Raises AwayError."""
    with opened(url, patience=PATIENCE) as port:
        return port.view(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(aside.answer(ask, str))
