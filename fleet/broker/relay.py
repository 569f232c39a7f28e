"""A port of this machine that leads to a RabbitMQ behind TLS, and speaks no TLS itself.

kombu takes nothing of TLS from a URL of RabbitMQ's. Behind such a port, every client needs the URL alone: those of the fleet's
commands, and programs of others that `fleet connect` starts. The certificate is checked here, chain and name.

`python -m fleet.broker.relay` reads a Target on stdin as a line of JSON, and prints an Answer when it has made one connection. It
ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from fleet.errors import FleetError

PATIENCE = 10.0
"""Seconds for the server to show its certificate."""
CHUNK = 1 << 16
GREETING = b"AMQP\x00\x00\x09\x01"
"""With which a client of RabbitMQ begins."""
ANSWERS = (b"\x01", b"A")
"""With which RabbitMQ answers: a frame, or its own greeting if it wants another. A port with TLS answers otherwise."""
ASKS = "it asks for a certificate: set certificate_file and key_file"
"""What TLS calls CERTIFICATE_REQUIRED."""


class RelayError(FleetError):
    """There is no TLS with the server. str() says why. is_refused: whether its certificate is refused."""

    def __init__(self, text: str, is_refused: bool) -> None:
        super().__init__(text)
        self.is_refused = is_refused


@dataclass(frozen=True)
class Target:
    """Where to connect to, and whom to expect there. name: of the server, in its certificate. options: Celery's broker_use_ssl,
    with files of this machine."""

    address: str
    port: int
    name: str
    options: dict[str, Any]


@contextmanager
def relayed(target: Target) -> Iterator[int]:
    """The port of 127.0.0.1, while the context lasts. Raises RelayError."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fleet.broker.relay"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # this process handles Ctrl-C, and its end is the relay's
    )
    assert process.stdin and process.stdout  # noqa: S101 - they are pipes
    with process:
        try:
            process.stdin.write(f"{json.dumps(asdict(target))}\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline() or '{"error": "it has ended", "is_refused": false}')
            if "error" in answer:
                raise RelayError(answer["error"], answer["is_refused"])
            yield answer["port"]
        finally:
            process.kill()


def context_of(options: dict[str, Any]) -> ssl.SSLContext:
    """How the server is checked, and what is shown to it. Raises OSError if a file is of no use."""
    context = ssl.create_default_context(cafile=options.get("ca_certs"))
    context.check_hostname = "server_hostname" in options
    context.verify_mode = ssl.VerifyMode(options.get("cert_reqs", ssl.CERT_REQUIRED))
    if certificate := options.get("certfile"):
        context.load_cert_chain(certificate, options.get("keyfile"))
    return context


async def _serve(target: Target) -> None:
    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        opening = asyncio.open_connection(
            target.address, target.port, ssl=context_of(target.options), server_hostname=target.name, limit=CHUNK
        )
        return await asyncio.wait_for(opening, PATIENCE)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, to_there = await connect()
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        await asyncio.gather(_copy(reader, to_there), _copy(there, writer))

    reader, writer = await connect()
    # A server that asks for a certificate refuses what it got, or did not get, after the handshake.
    writer.write(GREETING)
    answer = await asyncio.wait_for(reader.read(1), PATIENCE)
    if answer not in ANSWERS:
        raise OSError("no RabbitMQ answers there" if answer else "it ends the connection")
    writer.transport.abort()
    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=CHUNK)
    sys.stdout.write(f"{json.dumps({'port': server.sockets[0].getsockname()[1]})}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends, and then end the other."""
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()


def main() -> int:
    """Serve until stdin ends."""
    target = Target(**json.loads(sys.stdin.readline()))
    try:
        asyncio.run(_serve(target))
    except ssl.SSLCertVerificationError as error:
        failure = {"error": error.verify_message, "is_refused": True}
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        failure = {"error": ASKS if reason.endswith("CERTIFICATE_REQUIRED") else reason, "is_refused": False}
    except TimeoutError:
        failure = {"error": f"no answer in {PATIENCE:g} s", "is_refused": False}
    except OSError as error:
        failure = {"error": error.strerror or str(error), "is_refused": False}
    else:
        return 0
    sys.stdout.write(f"{json.dumps(failure)}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
