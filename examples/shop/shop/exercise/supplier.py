"""A supplier to ask for prices: a small HTTP server in this process."""

import json
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Self


class Supplier(ThreadingHTTPServer):
    """Serves GET /prices/<sku> while the `with` block lasts. Raises OSError if the address is not free.

    The prices are new in every run: a right answer can only come from this supplier.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, articles: int = 20) -> None:
        super().__init__((host, port), PriceHandler)
        self.prices = {f"article-{number:02}": 1 + secrets.randbelow(100_000) for number in range(articles)}
        self.asked: set[str] = set()

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, name="supplier", daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.shutdown()
        self.server_close()


class PriceHandler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"  # keeps connections open, as the client's pool expects
    server: Supplier

    def do_GET(self) -> None:
        sku = self.path.removeprefix("/prices/")
        if sku not in self.server.prices:
            self.answer(404, {"error": f"no article {sku!r}"})
        elif sku not in self.server.asked:
            # Busy the first time, as a real supplier may be: the client has to ask again.
            self.server.asked.add(sku)
            self.answer(503, {"error": "busy, ask again"})
        else:
            self.answer(200, {"sku": sku, "price_cents": self.server.prices[sku]})

    def answer(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a line for each request would bury the report."""
