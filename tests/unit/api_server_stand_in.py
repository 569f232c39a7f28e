"""A stand-in for Kubernetes' API server: it takes what pods cost to remove, over TLS, from whoever has the token."""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from fleet.spec import certificates
from fleet_exporter.pods import ANNOTATION

NAMESPACE = "shop"


@dataclass
class ApiServer:
    """account: what a pod has of its account. costs: pod → what was written last. patches: all that was. gone: pods that are not
    there. refuses: whether it lets nobody. answer: what it answers, in pieces, in place of what it should."""

    account: Path
    port: int = 0
    costs: dict[str, int] = field(default_factory=dict)
    patches: list[tuple[str, int]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    refuses: bool = False
    answer: Callable[[], Iterable[bytes]] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """By which a pod finds it."""
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}

    def scaled(self, **deployments: str) -> Mapping[str, Any]:
        """The exporter's settings for it: role → Deployment."""
        return {"account": str(self.account), "deployments": deployments}

    def patch(self, path: str, headers: Any, content: bytes) -> tuple[int, str]:
        """(status, message) of a PATCH."""
        if headers["Authorization"] != f"Bearer {(self.account / 'token').read_text()}":
            return 401, "Unauthorized"
        if self.refuses or path.endswith("/celery-web-guarded"):
            return 403, 'pods is forbidden: cannot patch resource "pods"'
        place, _, pod = path.rpartition("/")
        if place != f"/api/v1/namespaces/{NAMESPACE}/pods" or pod in self.gone:
            return 404, f'pods "{pod}" not found'
        assert headers["Content-Type"] == "application/merge-patch+json"
        patch = json.loads(content)
        value = patch["metadata"]["annotations"].pop(ANNOTATION)
        assert patch == {"metadata": {"annotations": {}}}, "nothing else is changed"
        self.costs[pod] = int(value)
        self.patches.append((pod, int(value)))
        return 200, ""


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """One that runs."""
    certificates.make(folder, ["127.0.0.1"])
    account = folder / "account"
    account.mkdir()
    (account / "ca.crt").write_bytes((folder / "ca.pem").read_bytes())
    (account / "token").write_text(secrets.token_hex(16))
    (account / "namespace").write_text(NAMESPACE)
    server = ApiServer(account)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_PATCH(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            status, message = server.patch(self.path, self.headers, content)
            answer = json.dumps({"kind": "Status", "message": message} if message else {"kind": "Pod"}).encode()
            self.send_response(status)
            if not server.answer:
                self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.close_connection = server.answer is not None
            with suppress(OSError):
                for piece in server.answer() if server.answer else [answer]:
                    self.wfile.write(piece)

        def log_message(self, format: str, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        listening.daemon_threads = True
        server.port = listening.server_address[1]
        thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
