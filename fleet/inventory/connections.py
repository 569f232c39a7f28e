"""SSH connections of a program that goes on: each is kept open, and all of them end when the program does."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any

from fleet.inventory import ssh

CONNECT_SECONDS = 5
"""Seconds for SSH to connect."""
AGAIN = 5.0
"""Seconds until a connection that has ended is tried again."""
END = "end"
"""The last line of each answer of a command that is repeated."""


class Connections:
    """The SSH processes of this program. Threads may use it at once."""

    def __init__(self) -> None:
        self._processes: set[ssh.Process] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """Whether the program ends."""
        return self._closed.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait. Returns whether the program ends meanwhile."""
        return self._closed.wait(seconds)

    def add(self, process: ssh.Process) -> None:
        """A process that is ended with the program; at once, if that ends already."""
        with self._lock:
            self._processes = {other for other in self._processes if other.poll() is None} | {process}
        if self.is_closed:
            process.kill()

    def close(self) -> None:
        """End all of them."""
        self._closed.set()
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()

    def run(self, host: str, data: Mapping[str, Any], command: str, seconds: float) -> tuple[list[str], str]:
        """(lines of output, complaint) of a shell command on a host, which has this many seconds."""
        process = self._start(host, data, command, subprocess.PIPE)
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return [], f"no answer over SSH in {seconds:g} s"
        return output.splitlines(), _last(errors)

    def repeat(
        self,
        host: str,
        data: Mapping[str, Any],
        command: str,
        every: float,
        on_answer: Callable[[list[str]], None],
        on_silence: Callable[[str], None],
    ) -> None:
        """Have a host run a shell command again and again over one connection, until the program ends. command: it prints END
        last. every: seconds between two runs. on_answer: takes the lines of each answer. on_silence: why the connection ended."""
        # The shell there ends with the connection: it cannot write then.
        loop = ssh.as_root(data, f"while printf '\\n'; do {command}\nsleep {every:g}; done")
        while not self.is_closed:
            with tempfile.TemporaryFile("w+") as errors:
                process = self._start(host, data, loop, errors)
                lines: list[str] = []
                assert process.stdout  # noqa: S101 - it is a pipe
                with process:
                    for line in process.stdout:
                        lines.append(line.rstrip("\n"))
                        if lines[-1] == END:
                            on_answer(lines)
                            lines = []
                errors.seek(0)
                complaint = _last(errors.read())
            if not self.is_closed:
                on_silence(complaint or "the connection has ended")
            self.wait(AGAIN)

    def _start(self, host: str, data: Mapping[str, Any], command: str, errors: Any) -> ssh.Process:
        process = subprocess.Popen(
            [*ssh.ssh_command(host, data, CONNECT_SECONDS), command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is this process's matter
        )
        self.add(process)
        return process


def _last(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
