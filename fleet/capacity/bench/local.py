"""Redis and workers on this machine, for a benchmark of flags: started, and ended with the context."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from redis import Redis, RedisError

from fleet.broker.announcing import sender
from fleet.capacity.bench.bench import BenchError
from fleet.spec.reliability import RELIABILITY, TRANSPORT
from fleet.spec.text import printable

ROOT = Path(__file__).parents[3]
"""The folder that has fleet_node."""
START = 60.0
"""Seconds for Redis or a worker to answer."""
END = 20.0
"""Seconds for a worker to end by itself."""
PLAIN = "plain"
"""Word before flags: the worker is `celery worker` as it comes."""
OURS = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--prefetch-multiplier=1", "-I", "fleet_node.worker")
APP = """
from celery import Celery
from fleet_node import bench

app = Celery("bench")
bench.register(app)
"""


@contextmanager
def redis() -> Iterator[str]:
    """A Redis that keeps nothing, on loopback. Yields its URL."""
    if shutil.which("redis-server") is None:
        raise BenchError("there is no redis-server here: apt install redis-server")
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder, closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port, password = probe.getsockname()[1], secrets.token_urlsafe(24)
        probe.close()
        file = Path(folder, "redis.conf")
        file.touch(0o600)
        file.write_text(f'bind 127.0.0.1\nport {port}\ndir {folder}\nsave ""\nrequirepass {password}\nlogfile redis.log\n')
        process = subprocess.Popen(["redis-server", str(file)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            url = f"redis://:{password}@127.0.0.1:{port}/0"
            _wait_for(process, url, Path(folder, "redis.log"))
            yield url
        finally:
            _end(process)


@contextmanager
def worker(url: str, flags: str, node: str, queue: str) -> Iterator[None]:
    """A worker with these flags of `celery worker`, beside those of the fleet; after the word PLAIN, as it comes. Raises
    BenchError with its last lines if it does not come up."""
    words = shlex.split(flags)
    is_plain = words[:1] == [PLAIN]
    more = words[1:] if is_plain else [*OURS, *words]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-bench-")))
        (folder / "fleet_bench_app.py").write_text(APP)
        log = folder / "worker.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "FLEET_"))} | {
            "CELERY_BROKER_URL": url,
            "PYTHONPATH": f"{folder}:{ROOT}",
            "FLEET_CELERY": json.dumps({"settings": RELIABILITY, "broker_transport_options": TRANSPORT, "lease": 60}),
            "FLEET_LOG": "text",
        }
        command = [sys.executable, "-m", "celery", "-A", "fleet_bench_app", "worker", "-n", node, "-Q", queue, "-l", "WARNING"]
        process = subprocess.Popen(
            [*command, *more],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stack.enter_context(log.open("wb")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_consuming(process, url, node, log)
            yield
        finally:
            _end(process)


def _wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START
    with Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
                return
            except RedisError:
                _check(process, log, deadline)


def _wait_until_consuming(process: subprocess.Popen[bytes], url: str, node: str, log: Path) -> None:
    deadline = time.monotonic() + START
    with closing(sender(url)) as app:
        while not app.control.ping(destination=[node], timeout=1, limit=1):
            _check(process, log, deadline)


def _check(process: subprocess.Popen[bytes], log: Path, deadline: float) -> None:
    """Raises BenchError if a process has ended, or it is too late."""
    if process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        return
    what = f"ended with {process.returncode}" if process.poll() is not None else f"did not answer in {START:.0f} s"
    last = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
    raise BenchError(f"{log.stem} {what}: {printable(' | '.join(last))}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
