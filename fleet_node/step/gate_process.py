"""`fleet_node.gate` as a process beside a step, as the workers' own user. Standard library alone."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from fleet_node.protocol import GateConsumed, GateOpening, GateQuestion, GateRequest, GateVerdict
from fleet_node.step.errors import GateError

END_PATIENCE = 10
"""Seconds that the process has to end when its stdin is closed."""


class GateProcess:
    """The process. It writes one line of JSON for each line that it reads.

    control: path of a ControlFile, if there is one. stopping: nodes that go down in this step.
    """

    def __init__(self, request: GateRequest, control: str | None, stopping: Sequence[str]) -> None:
        user: dict[str, Any] = {}
        if os.geteuid() == 0 and request["user"]:
            user = {"user": request["user"], "group": request["user"], "extra_groups": []}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            request["command"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=request["folder"],
            env=request["base"],
            **user,
        )
        assert self._process.stdin and self._process.stdout  # noqa: S101 - they are pipes
        self._input, self._output = self._process.stdin, self._process.stdout
        self._received = b""
        opening: GateOpening = {
            **request["ask"],
            "environment": request["environment"],
            "control": control,
            "stopping": list(stopping),
        }
        self._send(opening)

    def consumed(self, timeout: float) -> dict[str, list[str]]:
        """Node → queues that it consumes, of all workers that are up now. Raises GateError after `timeout` seconds."""
        answer: GateConsumed = self._receive(timeout)
        return answer["consumed"]

    def judge(self, question: GateQuestion, timeout: float) -> GateVerdict:
        """Whether workers are well. Raises GateError after `timeout` seconds."""
        self._send(question)
        verdict: GateVerdict = self._receive(timeout)
        return verdict

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):
            self._input.close()
        self._end()
        self._errors.close()
        self._output.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        with suppress(OSError):  # the process has ended: the next answer says why
            self._input.write(json.dumps(message).encode() + b"\n")
            self._input.flush()

    def _receive(self, timeout: float) -> Any:
        line = self._line(time.monotonic() + timeout)
        if line is None:
            self._errors.seek(0)
            errors = [line for line in self._errors.read().splitlines() if line.strip()]
            raise GateError(f"could not ask the workers: {errors[-1] if errors else f'no answer in {timeout:g} s'}")
        return json.loads(line)

    def _line(self, deadline: float) -> bytes | None:
        """The next line; None, and the process has ended, if there is none until `deadline`."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self._process.kill()
                    self._process.wait()
                    return None
                chunk = os.read(self._output.fileno(), 1 << 16)
                if not chunk:
                    self._end()
                    return None
                self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _end(self) -> None:
        try:
            self._process.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
