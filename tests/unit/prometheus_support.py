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
    (folder / "alertmanager.yml").write_bytes(configuration)
    port = free_port()
    command = ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/alertmanager"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    with process(command, folder / "alertmanager.log"):
        url = f"http://127.0.0.1:{port}"
        _ready(url, folder / "alertmanager.log")
        yield url


@contextmanager
def prometheus(folder: Path, configuration: bytes = b"{}") -> Iterator[str]:
    """A Prometheus with the data in `folder`/data; yields its URL."""
    (folder / "prometheus.yml").write_bytes(configuration)
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=10y"]
    with process(command, folder / "prometheus.log"):
        url = f"http://127.0.0.1:{port}"
        _ready(url, folder / "prometheus.log")
        yield url


def _ready(url: str, log: Path) -> None:
    deadline = monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=PATIENCE):  # noqa: S310
                return
        except OSError:
            assert monotonic() < deadline, log.read_text()
            sleep(0.05)
