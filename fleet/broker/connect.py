"""The fleet's broker from the control machine: through SSH, or straight."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet.errors import FleetError
from fleet.inventory.ssh import Process, SSHError, forward
from fleet.spec import endpoint, secrets
from fleet.spec.broker import External
from fleet.spec.endpoint import Way
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.urls import Endpoint

PATIENCE = 10.0
"""Seconds for a server to show its certificate."""
Hosts = Mapping[str, Mapping[str, Any]]
"""Host → its data in the inventory."""


class UnreachedError(FleetError):
    """A broker that is not ours is not reached, or its certificate is refused."""


@contextmanager
def broker(inventory: Inventory, fleet: Fleet) -> Iterator[dict[str, str]]:
    """CELERY_BROKER_URL and CELERY_RESULT_BACKEND, while the context lasts. Raises SecretsError, SSHError and UnreachedError."""
    path = Path(fleet.settings.secrets_file)
    known = secrets.read(path)
    secrets.require(path, known, fleet.broker_secrets)
    with through(inventory.hosts, fleet, known) as variables:
        yield variables


@contextmanager
def through(hosts: Hosts, fleet: Fleet, known: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The same with secrets that are read already. Raises SSHError and UnreachedError."""
    with reached(hosts, fleet, known) as way:
        yield endpoint.celery_variables(fleet, known, way=way)


@contextmanager
def reached(
    hosts: Hosts, fleet: Fleet, known: Mapping[str, str], on_start: Callable[[Process], None] = lambda process: None
) -> Iterator[Way]:
    """The way to the broker, while the context lasts: see `fleet.spec.endpoint`. on_start: as of `forward`. Raises SSHError, and
    UnreachedError if the certificate of a server that is not ours is refused."""
    server = endpoint.broker(fleet, known)
    if isinstance(fleet.broker, External) and fleet.broker.direct:
        yield Way()
        return
    with _forwarded(hosts, fleet, server, on_start) as (host, port):
        if fleet.redis is None and server.query.get("ssl_check_hostname") == "true":
            check_name(port, server, host, endpoint.broker(fleet, known, way=Way()).query.get("ssl_ca_certs"))
        yield Way(port)


def jump_hosts(fleet: Fleet) -> list[str]:
    """The machines through which the broker is reached, the best first."""
    return [fleet.broker_host] if fleet.broker_host else [name for name, host in fleet.hosts.items() if host.workers]


@contextmanager
def _forwarded(hosts: Hosts, fleet: Fleet, server: Endpoint, on_start: Callable[[Process], None]) -> Iterator[tuple[str, int]]:
    """The first machine that SSH reaches, and the port that leads through it."""
    *others, last = jump_hosts(fleet)
    for host in (*others, last):
        forwarding = forward(host, hosts[host], server.address, server.port, on_start)
        try:
            port = forwarding.__enter__()
        except SSHError:
            if host == last:
                raise
            continue
        break
    try:
        yield host, port
    finally:
        forwarding.__exit__(None, None, None)


def check_name(port: int, server: Endpoint, host: str, authorities: str | None) -> None:
    """Check the certificate that a server shows behind a port of this machine: a client that connects to the port would compare
    it with 127.0.0.1. host: the machine between. authorities: a file; None for those of this machine's distribution. Raises
    UnreachedError."""
    context = ssl.create_default_context(cafile=authorities)
    if certificate := server.query.get("ssl_certfile"):
        context.load_cert_chain(certificate, server.query.get("ssl_keyfile"))
    try:
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=server.address),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise UnreachedError(f"{server.shown}: its certificate is refused: {error.verify_message}") from None
    except OSError as error:
        raise UnreachedError(f"{server.shown}: no TLS with it from {host}: {error.strerror or error}") from None
