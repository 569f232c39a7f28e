"""Progress of a long operation: which hosts are still at it, and for how long the run has gone on. And what failed."""

from __future__ import annotations

import time

import gevent
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

EVERY = 15  # seconds
CHECK_STEP = "Check the step"
"""The operation that fails if a step failed."""


class Progress(BaseStateCallback):
    """The progress of one run, handed to `state.add_callback_handler`.

    errors: where a line for each failed operation goes. begun: where the id of pyinfra's record of each begun operation goes.
    """

    def __init__(self, errors: dict[str, None], begun: set[int]) -> None:
        self._errors, self._begun = errors, begun
        self._started = time.monotonic()
        self._busy: dict[str, None] = {}  # host names, in the order in which they began
        self._heartbeat: gevent.Greenlet | None = None

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]  # static there
        self._busy.clear()
        self._heartbeat = gevent.spawn(self._beat, ", ".join(sorted(state.get_op_meta(op_hash).names)))

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]
        if op_hash in state.ops[host]:  # else it is skipped, and no end is told
            self._busy[host.name] = None
            self._begun.add(id(state.ops[host][op_hash].operation_meta))

    def operation_host_success(self, state: State, host: Host, op_hash: str, retry_count: int = 0) -> None:  # type: ignore[override]
        self._busy.pop(host.name, None)

    def operation_host_error(  # type: ignore[override]
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        self._busy.pop(host.name, None)
        names = ", ".join(sorted(state.get_op_meta(op_hash).names))
        ignored = state.ops[host][op_hash].global_arguments["_ignore_errors"]
        if not ignored and names != CHECK_STEP:  # how a step went is recorded with the step
            self._errors[f"{host.name}: {names}: failed"] = None

    def operation_end(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        if self._heartbeat is not None:
            self._heartbeat.kill()

    def _beat(self, name: str) -> None:
        while True:
            gevent.sleep(EVERY)
            logger.info(
                f"    … {name}: {' '.join(self._busy)} still at it, {time.monotonic() - self._started:.0f} s since the start"
            )
