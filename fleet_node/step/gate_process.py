"""`fleet_node.gate` as a process beside a step, as the workers' own user. Standard library alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any


class GateError(Exception):
    """The gate did not answer. str() says why."""


class GateProcess:
    """The process. told: its "command", "user", "folder", "base" (environment), and what it reads first. going: nodes that go
    down in this step."""

    def __init__(self, told: Mapping[str, Any], control: str | None, going: Sequence[str]) -> None:
        user = {"user": told["user"], "group": told["user"], "extra_groups": []} if os.geteuid() == 0 and told["user"] else {}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            told["command"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=told["folder"],
            env=told["base"],
            **user,
        )
        self._tell({**told["ask"], "environment": told["environment"], "control": control, "going": going})

    def consumed(self, timeout: float) -> dict[str, list[str]]:
        """node → queues, of all workers that are up now. Raises AskingError."""
        found: dict[str, list[str]] = self._answer(timeout)["consumed"]
        return found

    def judge(self, asked: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """See fleet_node.gate. Raises AskingError."""
        self._tell(asked)
        return self._answer(timeout)

    def close(self) -> None:
        """End it."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        if self._process.stdout:
            self._process.stdout.close()

    def _tell(self, said: Mapping[str, Any]) -> None:
        assert self._process.stdin  # noqa: S101 - it is a pipe
        try:
            self._process.stdin.write(json.dumps(said) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended: the answer says why

    def _answer(self, timeout: float) -> dict[str, Any]:
        assert self._process.stdout  # noqa: S101 - it is a pipe
        alarm = signal.signal(signal.SIGALRM, lambda *_: self._process.kill())
        signal.alarm(int(timeout) + 1)
        try:
            line = self._process.stdout.readline()
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, alarm)
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = [one for one in self._errors.read().splitlines() if one.strip()]
            raise GateError(f"could not ask the workers: {said[-1] if said else f'no answer in {timeout:g} s'}")
        answer: dict[str, Any] = json.loads(line)
        return answer
