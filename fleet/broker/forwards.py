"""Ports of this machine that lead to a broker: through SSH, through a pod, or straight; and whether the right server is there."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis, RedisError

from fleet.broker.relay import ANSWERS, GREETING
from fleet.broker.verdict import RefusedError
from fleet.errors import FleetError
from fleet.inventory import kubectl
from fleet.inventory.kubectl import ACCESS
from fleet.inventory.ssh import Process, SSHError, forward
from fleet.spec.urls import Endpoint, netloc

PATIENCE = 10.0
"""Seconds for a server to show its certificate."""
Hosts = Mapping[str, Mapping[str, Any]]
"""Host → its data in the inventory."""


class UnreachedError(FleetError):
    """A broker that is not ours is not reached."""


@dataclass(frozen=True)
class Forwards:
    """Ports of this machine that lead to others, through the first of the machines between that SSH reaches. is_direct: this
    machine needs none between."""

    hosts: Hosts
    between: Sequence[str]
    on_start: Callable[[Process], None]
    is_direct: bool = False

    @contextmanager
    def to(self, address: str, port: int) -> Iterator[tuple[str, int | None]]:
        """(machine between, port here) that lead to an address; the port is None if nothing is between. Raises SSHError, and
        UnreachedError if there is no machine."""
        with ExitStack() as stack:
            if self.is_direct:
                yield "this machine", None
                return
            if not self.between:
                raise UnreachedError('no machine of the inventory has workers and leads there: write "direct": True in broker')
            for host in self.between:
                data = self.hosts[host]
                try:
                    if access := data.get(ACCESS):
                        local = stack.enter_context(kubectl.forward(access, address, port, self.on_start))
                    else:
                        local = stack.enter_context(forward(host, data, address, port, self.on_start))
                    break
                except SSHError:
                    if host == self.between[-1]:
                        raise
            yield host, local


def greets(address: str, port: int) -> bool:
    """Whether a RabbitMQ is there."""
    try:
        with socket.create_connection((address, port), PATIENCE) as plain:
            plain.settimeout(PATIENCE)
            plain.sendall(GREETING)
            return plain.recv(1) in ANSWERS
    except OSError:
        return False


def find_primary(server: Endpoint, name: str, forwards: Forwards) -> tuple[str, int]:
    """The address and port of the primary that the first sentinel that answers names. Raises SSHError, UnreachedError and
    RefusedError."""
    problems = []
    for address, port in server.addresses:
        with (
            forwards.to(address, port) as (_, local),
            Redis(
                "127.0.0.1" if local else address,
                local or port,
                socket_timeout=PATIENCE,
                socket_connect_timeout=PATIENCE,
                decode_responses=True,
            ) as sentinel,
        ):
            try:
                primary: Any = sentinel.sentinel_get_master_addr_by_name(name)
                if primary:
                    return str(primary[0]), int(primary[1])
                known = ", ".join(sorted(sentinel.sentinel_masters()))
                raise RefusedError(f"the sentinels know no primary {name}, as master_name says; they know {known or 'none'}")
            except RedisError as error:
                problems.append(f"{netloc(address, port)}: {error}")
    raise UnreachedError(f"no sentinel answers ({'; '.join(problems)})")


def check_name(near: tuple[str, int], server: Endpoint, host: str) -> None:
    """Check the certificate that a server shows: a client that connects to a port of this machine would compare it with
    127.0.0.1, and one that refuses it says no more than of a server that is away. near: where the server is connected to.
    server: with files of this machine. host: the machine between. Raises UnreachedError and RefusedError."""
    context = ssl.create_default_context(cafile=server.query.get("ssl_ca_certs"))
    if certificate := server.query.get("ssl_certfile"):
        context.load_cert_chain(certificate, server.query.get("ssl_keyfile"))
    try:
        with (
            socket.create_connection(near, PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=server.address),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise RefusedError(f"{server.shown}: its certificate is refused: {error.verify_message}") from None
    except OSError as error:
        raise UnreachedError(f"{server.shown}: no TLS with it from {host}: {error.strerror or error}") from None
