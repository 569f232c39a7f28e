"""While an operation runs long: who is still at it, and how long the run has taken so far."""

from __future__ import annotations

import time

import gevent
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

EVERY = 15  # seconds


class Progress(BaseStateCallback):
    """One for a run, handed to `state.add_callback_handler`."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._busy: dict[str, None] = {}  # host names, in the order in which they began
        self._heartbeat: gevent.Greenlet | None = None

    def operation_start(self, state: State, op_hash: str) -> None:  # type: ignore[override]  # static there
        self._busy.clear()
        self._heartbeat = gevent.spawn(self._beat, ", ".join(sorted(state.get_op_meta(op_hash).names)))

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:  # type: ignore[override]
        if op_hash in state.ops[host]:  # else it is skipped, and no end is told
            self._busy[host.name] = None

    def operation_host_success(self, state: State, host: Host, op_hash: str, retry_count: int = 0) -> None:  # type: ignore[override]
        self._busy.pop(host.name, None)

    def operation_host_error(  # type: ignore[override]
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        self._busy.pop(host.name, None)

    def operation_end(self, state: State, op_hash: str) -> None:  # type: ignore[override]
        if self._heartbeat is not None:
            self._heartbeat.kill()

    def _beat(self, name: str) -> None:
        while True:
            gevent.sleep(EVERY)
            logger.info(
                f"    … {name}: {' '.join(self._busy)} still at it, {time.monotonic() - self._started:.0f} s since the start"
            )
