"""Serves the external metrics API over TLS, as Kubernetes' API server asks for it."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from fleet_exporter import external
from fleet_exporter.settings import External
from fleet_exporter.state import Role

PATIENCE = 10.0
"""Seconds that a client may say nothing."""
LONGEST = 60.0
"""Seconds of a connection. The API server makes a new one."""
MOST_CLIENTS = 200
"""At once: each has a thread. More are turned away."""


class Server(ThreadingHTTPServer):
    """Whoever reaches the port may ask, as at the port for Prometheus; nobody may keep it busy for long."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext) -> None:
        super().__init__(address, handler)
        self._context = context
        self._since: dict[socket.socket, float] = {}

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next client. It shakes hands in its own thread: if it does not, it holds up nobody else."""
        connection, address = super().get_request()
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Turn a client away, or begin a thread for it."""
        if len(self._since) >= MOST_CLIENTS:
            self.shutdown_request(request)
            return
        self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Of one client."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._since.pop(request, None)

    def service_actions(self) -> None:
        """Twice a second: end connections that have lasted too long."""
        for connection, since in tuple(self._since.items()):
            if time.monotonic() - since > LONGEST:
                with suppress(OSError):  # not TLS's own, which another thread is in
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that speaks no TLS, or is gone, is nothing to report."""


def start(settings: External, address: str, roles: Callable[[], Sequence[Role]]) -> ThreadingHTTPServer:
    """Serve from now on, in threads. Raises OSError if a file cannot be read, or the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = PATIENCE

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            status, body = external.respond(place.path, place.query, settings.namespace, roles, now)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """A line for each question would be four a minute and role."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.key)
    server = Server((address, settings.port), Handler, context)
    threading.Thread(target=server.serve_forever, name="external-metrics", daemon=True).start()
    return server
