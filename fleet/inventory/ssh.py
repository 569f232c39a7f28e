"""SSH with the inventory's data: run a command on a machine, or forward a local port to an address that the machine reaches."""

from __future__ import annotations

import shlex
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import IO, Any

from fleet.errors import FleetError
from fleet.spec.urls import netloc

CONNECT_TIMEOUT = 20  # seconds
PATIENCE = 60  # seconds, a command
END_SECONDS = 0.5  # until an ssh that was asked to end is killed


class SSHError(FleetError):
    """SSH did not connect. str() is the host and the message of ssh."""


def ssh_command(host: str, data: Mapping[str, Any], connect_timeout: int = CONNECT_TIMEOUT) -> list[str]:
    """`ssh …` to a host of the inventory, by the same data that pyinfra's connector reads. connect_timeout: seconds."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(connect_timeout),
        "ServerAliveInterval": "10",  # three without an answer end it
        "StrictHostKeyChecking": data.get("ssh_strict_host_key_checking", "accept-new"),
    }
    if data.get("ssh_known_hosts_file"):
        options["UserKnownHostsFile"] = data["ssh_known_hosts_file"]
    flags = {"-p": "ssh_port", "-l": "ssh_user", "-i": "ssh_key", "-F": "ssh_config_file"}
    return [
        "ssh",
        *(word for flag, name in flags.items() if data.get(name) for word in (flag, str(data[name]))),
        *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
        str(data.get("ssh_hostname") or host),
    ]


def run(
    host: str,
    data: Mapping[str, Any],
    command: str,
    stdin: str | None = None,
    timeout: float = PATIENCE,
    connect_timeout: int = CONNECT_TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """Run a shell command on a host. ssh itself exits with 255. timeout, connect_timeout: seconds for all, and for connecting.
    Raises SSHError if the command takes longer."""
    try:
        return subprocess.run(
            [*ssh_command(host, data, connect_timeout), command],
            input=stdin or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            start_new_session=True,  # Ctrl-C is this process's matter
        )
    except subprocess.TimeoutExpired:
        raise SSHError(f"{host}: no answer over SSH in {timeout:g} s") from None


def as_root(data: Mapping[str, Any], command: str) -> str:
    """A shell command that runs sh as root if the inventory says _sudo, as pyinfra does."""
    return shlex.join([*(["sudo", "-n"] if data.get("_sudo") else []), "sh", "-c", command])


def stream(host: str, data: Mapping[str, Any], command: str, timeout: float, on_line: Callable[[str], None]) -> tuple[int, str]:
    """Run a shell command that may take long, and hand over each line of its output at once. Returns its exit code and stderr.

    Raises SSHError if the command takes longer than `timeout` seconds. What it began on the machine may go on.
    """
    process = subprocess.Popen(
        [*ssh_command(host, data), command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    over = threading.Timer(timeout, process.kill)
    over.start()
    with process:
        assert process.stdout and process.stderr  # noqa: S101 - they are pipes
        try:
            for line in process.stdout:
                on_line(line.rstrip("\n"))
            errors = process.stderr.read()
            code = process.wait()
        finally:
            late = not over.is_alive()
            over.cancel()
            process.terminate()
    if late:
        raise SSHError(f"{host}: not done in {timeout:g} s")
    return code, errors


Process = subprocess.Popen[str]


@contextmanager
def forward(
    host: str, data: Mapping[str, Any], address: str, port: int, on_start: Callable[[Process], None] = lambda process: None
) -> Iterator[int]:
    """A port on 127.0.0.1 that leads to `address:port` as seen from `host`, while the context lasts.

    on_start: gets the process of ssh, for whoever has to end it from another thread. Raises SSHError if SSH does not connect.
    """
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        local: int = probe.getsockname()[1]
    command = ssh_command(host, data)
    there = netloc(address, port)
    # No shell and no terminal: ssh ends with this process, which handles Ctrl-C.
    # It writes a line for each connection that is refused there. A pipe that nobody empties would hold it up.
    errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed below
    process = subprocess.Popen(
        [
            *command[:-1],
            "-N",
            "-o",
            "ExitOnForwardFailure=yes",
            "-L",
            f"127.0.0.1:{local}:{there}",
            command[-1],
        ],
        stdin=subprocess.DEVNULL,
        stderr=errors,
        text=True,
        start_new_session=True,
    )
    with errors, process:
        try:
            on_start(process)
            _wait_until_open(host, process, local, errors)
            yield local
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End an ssh that forwards. If the signal comes just before ssh waits for its connection, it is only seen with the next
    sign of life of the other side, ten seconds later."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait_until_open(host: str, process: subprocess.Popen[str], port: int, errors: IO[str]) -> None:
    deadline = time.monotonic() + CONNECT_TIMEOUT + 5
    while process.poll() is None and time.monotonic() < deadline:
        with closing(socket.socket()) as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    process.kill()
    process.wait()
    errors.seek(0)
    message = errors.read().strip()
    raise SSHError(f"{host}: {message or 'ssh did not connect'}")
