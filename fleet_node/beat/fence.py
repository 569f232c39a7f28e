"""What the leader sends goes through a script that looks at the lock, and writes the run down with the message.

The channels of this process are patched: while a run is sent, the commands by which kombu would put its message into queues are
recorded, and sent as one script.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from redis import Redis

from fleet_node.beat.lock import Lock
from fleet_node.beat.scripts import SEND, WRITE_RUNS
from fleet_node.protocol import BEAT_RUN, BeatRun


@dataclass
class Sending:
    """The run that is being sent. commands: of the message that is being sent, as (name, key, argument). task: the id of the
    run's own task; an app may send others with it."""

    entry: str
    run: BeatRun
    task: str | None = None
    commands: list[tuple[str, str, Any]] | None = field(default=None)


class Fence:
    """Of one leader. lost: called if the lock is another's; it does not return."""

    def __init__(self, lock: Lock, lost: Callable[[str], None]) -> None:
        self._lock, self._lost = lock, lost
        self._local = threading.local()

    @property
    def sending(self) -> Sending | None:
        """What this thread sends."""
        return getattr(self._local, "sending", None)

    @contextmanager
    def run(self, entry: str, run: BeatRun) -> Iterator[None]:
        """While a run of an entry is sent."""
        self._local.sending = Sending(entry, run)
        try:
            yield
        finally:
            self._local.sending = None

    def send(self, client: Redis, prefix: str, message: Mapping[str, Any]) -> None:
        """Send the commands that were recorded. prefix: of their keys."""
        sending = self.sending
        assert sending is not None and sending.commands is not None  # noqa: S101 - it is called for a run alone
        task = str(message["properties"].get("correlation_id"))
        sending.task = sending.task or task
        # What an app sends besides must not take the place of the run.
        entry, run = (sending.entry, json.dumps(sending.run)) if task == sending.task else ("", "")
        keys = [f"{prefix}{key}" for _, key, _ in sending.commands]
        arguments = [part for name, _, argument in sending.commands for part in (name, argument)]
        numkeys = 2 + len(keys)
        answer: Any = client.eval(SEND, numkeys, self._lock.key, self._lock.runs, *keys, self._lock.token, entry, run, *arguments)
        if int(answer) < 0:
            self._lost("another leads, and this process would have sent a task")

    def read(self) -> dict[str, BeatRun]:
        """Entry → its last run. Raises RedisError."""
        runs: dict[str, BeatRun] = {}
        entries: Any = self._lock.client.hgetall(self._lock.runs)
        for entry, text in entries.items():
            try:
                run: BeatRun = json.loads(text)
                datetime.fromisoformat(run["last_run_at"])
            except (ValueError, KeyError, TypeError):
                continue  # nobody of ours wrote it
            runs[entry] = run
        return runs

    def write(self, runs: Mapping[str, BeatRun | None]) -> None:
        """Write runs down without sending anything; None for an entry that is gone. Raises RedisError."""
        pairs = [part for entry, run in runs.items() for part in (entry, json.dumps(run) if run else "")]
        answer: Any = self._lock.client.eval(WRITE_RUNS, 2, self._lock.key, self._lock.runs, self._lock.token, *pairs)
        if int(answer) < 0:
            self._lost("another leads")


class _Recorder:
    """Stands in for a client, and for a pipeline, while a message is put into its queues."""

    def __init__(self, client: Any, commands: list[tuple[str, str, Any]]) -> None:
        self._client, self._commands = client, commands

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def pipeline(self, *_: object, **__: object) -> _Recorder:
        return self

    def execute(self) -> None:
        return None

    def lpush(self, key: str, message: Any) -> None:
        self._commands.append(("LPUSH", key, message))

    def publish(self, key: str, message: Any) -> None:
        self._commands.append(("PUBLISH", key, message))

    def pexpire(self, key: str, milliseconds: Any) -> None:
        self._commands.append(("PEXPIRE", key, milliseconds))


def install(fence: Fence) -> None:
    """Patch kombu's channels of this process, Sentinel's too."""
    from kombu.transport import redis

    channel: Any = redis.Channel  # kombu's types are unfinished
    publish, acquire = channel.basic_publish, channel.conn_or_acquire

    def basic_publish(self: Any, message: dict[str, Any], exchange: str, routing_key: str, **options: Any) -> Any:
        sending = fence.sending
        if sending is None:
            return publish(self, message, exchange, routing_key, **options)
        message["headers"][BEAT_RUN] = {"entry": sending.entry, **sending.run}
        sending.commands = []
        try:
            publish(self, message, exchange, routing_key, **options)
            with Redis(connection_pool=self.pool) as client:
                fence.send(client, str(self.global_keyprefix or ""), message)
        finally:
            sending.commands = None
        return None

    @contextmanager
    def conn_or_acquire(self: Any, client: Any = None) -> Iterator[Any]:
        sending = fence.sending
        with acquire(self, client) as acquired:
            commands = sending.commands if sending else None
            yield acquired if commands is None else _Recorder(acquired, commands)

    channel.basic_publish, channel.conn_or_acquire = basic_publish, conn_or_acquire
