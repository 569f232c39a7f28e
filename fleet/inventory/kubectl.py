"""kubectl: what pods there are, and a port of this machine that leads to an address which a pod reaches."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fleet.errors import FleetError

ACCESS = "_kubectl"
"""In a host's data: the Access by which it is reached, in place of SSH. No inventory file has it."""
PATIENCE = 20.0
"""Seconds for an answer."""
CHUNK = 1 << 16
RELAY = """
import os, socket, sys, threading
there = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
there.settimeout(None)
def send():
    while data := os.read(0, 65536):
        there.sendall(data)
    there.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := there.recv(65536):
    while data:
        data = data[os.write(1, data):]
"""
"""Python of a pod: its stdin and stdout are a connection."""


class KubectlError(FleetError):
    """kubectl is not there, or the cluster refuses. str() has its message."""


@dataclass(frozen=True)
class Access:
    """How a cluster is reached. command: kubectl with its options. relay: what leads to the broker, as kubectl exec names it.
    python: the interpreter there."""

    command: tuple[str, ...]
    relay: str
    python: str

    def exec(self, *words: str) -> list[str]:
        """`kubectl exec …` with a command of the pod."""
        return [*self.command, "exec", "--stdin", self.relay, "--", self.python, *words]


def pods(access: Access, selector: str) -> list[Any]:
    """The pods with some labels, as Kubernetes' API has them. Raises KubectlError."""
    output = _run([*access.command, "get", "pods", f"--selector={selector}", "--output=json", f"--request-timeout={PATIENCE:g}s"])
    try:
        items = json.loads(output, object_hook=_without_nulls)["items"]
    except (ValueError, KeyError, TypeError):
        items = None
    if not isinstance(items, list):
        raise KubectlError(f"kubectl get pods: it printed no list: {output[:200]!r}")
    return items


def _without_nulls(content: dict[str, Any]) -> dict[str, Any]:
    """What is null is what is not there, as the API has it."""
    return {name: value for name, value in content.items() if value is not None}


def log(access: Access, pod: str, lines: int) -> list[str]:
    """The last lines of a pod's log. Raises KubectlError."""
    return _run(log_command(access, pod, lines)).splitlines()


def log_command(access: Access, pod: str, lines: int) -> list[str]:
    """The command that prints them."""
    return [*access.command, "logs", pod, f"--tail={lines}", "--timestamps"]


@contextmanager
def forward(access: Access, address: str, port: int, on_start: Callable[[Any], None] = lambda process: None) -> Iterator[int]:
    """A port on 127.0.0.1 that leads to `address:port` as seen from the pod that relays, while the context lasts.

    on_start: gets each process of kubectl, for whoever has to end it from another thread. Raises KubectlError.
    """
    _run(access.exec("-c", ""))
    processes: set[subprocess.Popen[bytes]] = set()
    lock, is_over = threading.Lock(), threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with lock:
                if is_over.is_set():
                    return
                process = subprocess.Popen(
                    access.exec("-I", "-c", RELAY, address, str(port)),
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is this process's matter
                )
                processes.add(process)
            on_start(process)
            _connect(self.request, process)
            with lock:
                processes.discard(process)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            with lock:  # a connection that has just come starts nothing any more
                is_over.set()
                for process in processes:
                    process.kill()
                    process.wait()


def _connect(client: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Copy until one side ends, and then end the other."""
    assert process.stdin and process.stdout  # noqa: S101 - they are pipes
    into, out = process.stdin, process.stdout.fileno()

    def send() -> None:
        with suppress(OSError, ValueError):
            while data := client.recv(CHUNK):
                into.write(data)
        process.kill()

    with process:
        threading.Thread(target=send, daemon=True).start()
        with suppress(OSError):
            while data := os.read(out, CHUNK):
                client.sendall(data)
        process.kill()


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=PATIENCE + 5, check=False
        )
    except FileNotFoundError:
        raise KubectlError("kubectl is not installed here, or not in PATH") from None
    except subprocess.TimeoutExpired:
        raise KubectlError(f"kubectl: no answer in {PATIENCE + 5:g} s") from None
    if done.returncode:
        complaints = done.stderr.strip().splitlines()
        raise KubectlError(f"kubectl: {complaints[-1] if complaints else f'exit code {done.returncode}'}")
    return done.stdout
