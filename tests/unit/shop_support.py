"""A Redis server and a worker of the shop, both real. Both end with the context."""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from fleet.spec import certificates

SHOP = Path(__file__).parents[2] / "examples" / "shop"
WORKER = "shop@test"
PATIENCE = 30  # seconds for a server to start on a busy machine; a quicker server is not waited for

# The exercise is also tested in this process.
sys.path.insert(0, str(SHOP))


@dataclass(frozen=True)
class Shop:
    """A running shop: its environment, a client of its broker, and where its database is."""

    environment: dict[str, str]
    client: Celery
    database: Path

    def command(self, *options: str) -> list[str]:
        """The exercise's command line."""
        return [sys.executable, "-m", "shop.exercise", *options]

    def exercise(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the exercise to its end."""
        command = self.command(*options)
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def ask(self, task: str, queue: str, *args: object) -> Any:
        """A task's answer; raises what the task raised."""
        return self.client.send_task(task, args, queue=queue).get(timeout=PATIENCE)

    def consume(self, queue: str, enabled: bool) -> None:
        """Have the worker take, or no longer take, tasks from a queue."""
        control = self.client.control
        change = control.add_consumer if enabled else control.cancel_consumer
        assert change(queue, destination=[WORKER], reply=True, timeout=PATIENCE), "the worker did not answer"


def redis_server(port: int, folder: Path, *more: str) -> list[str]:
    """The command of a Redis on loopback. It notifies about queues as a deployed one does. FLEET_TEST_TLS: see redis_url.

    more: further options; by default, no persistence.
    """
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    return [*command, "--notify-keyspace-events", "KEl", *_tls_options(port, folder), *(more or ("--save", ""))]


def redis_url(port: int, database: int = 0) -> str:
    """The URL of such a Redis for workers, drains and producers: with TLS, if the tests run with FLEET_TEST_TLS=1."""
    if port not in _encrypted:
        return f"redis://127.0.0.1:{port}/{database}"
    tls_port, folder = _encrypted[port]
    checks = f"ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs={folder / certificates.AUTHORITIES}"
    return f"rediss://127.0.0.1:{tls_port}/{database}?{checks}"


_encrypted: dict[int, tuple[int, Path]] = {}
"""Port of a Redis → its encrypted port, and the folder of its certificates."""


def _tls_options(port: int, folder: Path) -> list[str]:
    if not os.environ.get("FLEET_TEST_TLS"):
        return []
    if port not in _encrypted:
        certificates.make(folder / "tls", ["localhost", "127.0.0.1"])
        _encrypted[port] = (free_port(), folder / "tls")
    tls_port, files = _encrypted[port]
    names = {"ca-cert": certificates.AUTHORITIES, "cert": certificates.SERVER, "key": certificates.SERVER_KEY}
    options = [word for kind, name in names.items() for word in (f"--tls-{kind}-file", str(files / name))]
    return ["--tls-port", str(tls_port), "--tls-auth-clients", "no", *options]


@contextmanager
def running_shop(directory: Path) -> Iterator[Shop]:
    """Start Redis and a prefork worker of two processes, which share a new SQLite file."""
    port = free_port()
    environment = environment_for(port, directory / "shop.db")
    redis = redis_server(port, directory)
    celery = [sys.executable, "-m", "celery", "-A", "shop.app", "worker", "--pool=prefork", "--concurrency=2"]
    celery += [f"--hostname={WORKER}", "--without-gossip", "--without-mingle", "--loglevel=WARNING"]
    with pytest.MonkeyPatch.context() as here, process(redis, directory / "redis.log"):
        # Celery prefers these variables to a client's arguments: a developer's own would mislead the client below.
        for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            here.setenv(name, environment[name])
        answering(port)
        with process(celery, directory / "worker.log", environment, directory) as worker:
            client = Celery()
            try:
                until_it_answers(client, worker, directory / "worker.log")
                yield Shop(environment, client, directory / "shop.db")
            finally:
                close(client)


def environment_for(port: int, database: Path) -> dict[str, str]:
    """The variables the shop reads, on top of this process's own."""
    return os.environ | {
        "CELERY_BROKER_URL": redis_url(port),
        "CELERY_RESULT_BACKEND": redis_url(port, 1),
        "DATABASE_URL": f"sqlite:///{database}",
        "PYTHONPATH": str(SHOP),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def free_port() -> int:
    """A free port on loopback. None of those that the kernel gives to clients: another test's may have it before it is used."""
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", 10_000 + secrets.randbelow(22_000))) as listening:
            return int(listening.getsockname()[1])


@contextmanager
def process(
    command: Sequence[str], log: Path, environment: dict[str, str] | None = None, directory: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command beside the tests; end it with TERM."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, cwd=directory, stdout=output, stderr=subprocess.STDOUT) as started,
    ):
        try:
            yield started
        finally:
            started.terminate()


def answering(port: int, **login: Any) -> None:
    """Wait until Redis accepts commands."""
    every_50_ms = Retry(ConstantBackoff(0.05), retries=PATIENCE * 20, supported_errors=(RedisConnectionError,))
    with Redis(port=port, retry=every_50_ms, **login) as redis:
        redis.ping()


def close(client: Celery) -> None:
    """Close a client. What is collected of its results later then looks for no Redis that has ended.

    Celery would look for 20 seconds a result, in another test, and fail that.
    """
    results = client.backend.result_consumer
    results.stop()
    results._pubsub = None  # a result that is collected unsubscribes
    client.backend.client.close()
    client.close()


def until_it_answers(client: Celery, worker: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the worker replies to a ping."""
    deadline = monotonic() + PATIENCE
    while not client.control.ping(destination=[WORKER], timeout=0.5):
        assert worker.poll() is None and monotonic() < deadline, log.read_text()
