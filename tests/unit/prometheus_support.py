"""Prometheus and Alertmanager on loopback, for tests."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from tests.unit.shop_support import PATIENCE, free_port, process


def ask(url: str, body: object = None) -> Any:
    """What an API answers, as JSON; None if it answers nothing. body: posted as JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
        return json.loads(answer.read() or b"null")


def query(url: str, expression: str, at: float) -> list[Any]:
    """The result of an expression at a time, from the Prometheus at `url`."""
    parameters = urllib.parse.urlencode({"query": expression, "time": at})
    result: list[Any] = ask(f"{url}/api/v1/query?{parameters}")["data"]["result"]
    return result


@contextmanager
def alertmanager(folder: Path, configuration: bytes) -> Iterator[str]:
    """An Alertmanager; yields its URL."""
    options = (f"--storage.path={folder}/alertmanager", "--cluster.listen-address=")
    with _server("prometheus-alertmanager", folder / "alertmanager.yml", configuration, options) as url:
        yield url


@contextmanager
def prometheus(folder: Path, configuration: bytes = b"{}") -> Iterator[str]:
    """A Prometheus with the data in `folder`/data; yields its URL."""
    options = (f"--storage.tsdb.path={folder}/data", "--storage.tsdb.retention.time=10y")
    with _server("prometheus", folder / "prometheus.yml", configuration, options) as url:
        yield url


@contextmanager
def _server(command: str, file: Path, configuration: bytes, options: tuple[str, ...]) -> Iterator[str]:
    """A server with its configuration in `file`; yields its URL."""
    file.write_bytes(configuration)
    address, log = f"127.0.0.1:{free_port()}", file.with_suffix(".log")
    with process([command, f"--config.file={file}", f"--web.listen-address={address}", *options], log):
        _ready(f"http://{address}", log)
        yield f"http://{address}"


def _ready(url: str, log: Path) -> None:
    deadline = monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=PATIENCE):  # noqa: S310
                return
        except OSError:
            assert monotonic() < deadline, log.read_text()
            sleep(0.05)
