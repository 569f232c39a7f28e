"""Serves the external metrics API over TLS, as Kubernetes' API server asks for it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from fleet_exporter import external
from fleet_exporter.settings import External
from fleet_exporter.state import Role

PATIENCE = 10.0
"""Seconds that a client has to ask."""


def start(settings: External, address: str, roles: Callable[[], Sequence[Role]]) -> ThreadingHTTPServer:
    """Serve from now on, in threads. Raises OSError if a file cannot be read, or the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = PATIENCE

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            status, body = external.respond(place.path, place.query, roles, now)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """A line for each question would be four a minute and role."""

        def setup(self) -> None:
            # Here and not when it connects: who does not shake hands holds up one thread, and not the server.
            self.request = context.wrap_socket(self.request, server_side=True, do_handshake_on_connect=False)
            self.request.settimeout(PATIENCE)
            super().setup()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.key)
    server = ThreadingHTTPServer((address, settings.port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="external-metrics", daemon=True).start()
    return server
