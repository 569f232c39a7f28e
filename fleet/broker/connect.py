"""The fleet's broker from the control machine, through SSH."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet.inventory.ssh import Process, forward
from fleet.spec import secrets
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.urls import celery_variables


@contextmanager
def broker(inventory: Inventory, fleet: Fleet) -> Iterator[dict[str, str]]:
    """CELERY_BROKER_URL and CELERY_RESULT_BACKEND, while the context lasts. Raises SecretsError and SSHError."""
    path = Path(fleet.settings.secrets_file)
    passwords = secrets.read(path)
    secrets.require(path, passwords, [secrets.BROKER_WORKER])
    with through(inventory.hosts[fleet.broker_host], fleet, passwords) as urls:
        yield urls


@contextmanager
def through(data: Mapping[str, Any], fleet: Fleet, passwords: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The same with secrets that are read already. data: of the broker's machine in the inventory. Raises SSHError."""
    with reached(data, fleet) as netloc:
        yield celery_variables(passwords[secrets.BROKER_WORKER], netloc)


@contextmanager
def reached(data: Mapping[str, Any], fleet: Fleet, on_start: Callable[[Process], None] = lambda process: None) -> Iterator[str]:
    """`address:port` on this machine that leads to the broker, while the context lasts. data: of the broker's machine in the
    inventory. on_start: as of `forward`. Raises SSHError."""
    with forward(fleet.broker_host, data, fleet.broker_address, fleet.broker.port, on_start) as port:
        yield f"127.0.0.1:{port}"
