"""What the broker knows of queues and of workers that are alive. Nothing is changed.

`python -m fleet.broker.look QUEUE…` reads on stdin where the broker is, and prints a BrokerView as JSON (`fleet.broker.aside`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict

from fleet.broker import aside
from fleet.broker.management import Management
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
    about = json.dumps({"url": url, "management": asdict(management) if management else None})
    return parse(aside.ask("fleet.broker.look", about, timeout, LookError, *queues))


def ask(text: str) -> BrokerView:
    """Ask in this process. text: of `look`. Raises AwayError."""
    about = json.loads(text)
    management = Management(**about["management"]) if about["management"] else None
    with opened(about["url"], management=management, patience=PATIENCE) as port:
        return port.view(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(aside.answer(ask, str))
