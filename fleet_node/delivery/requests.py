"""What Celery has made of the messages that a worker holds."""

from __future__ import annotations

import weakref
from typing import Any


class Requests:
    """Of one worker (a celery WorkController): Celery's requests, by the delivery tags of their messages."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._of: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self.dropped: weakref.WeakSet[Any] = weakref.WeakSet()
        """Those that have not begun here, and whose messages others have been given. The same messages may come again."""

    def add(self, request: Any) -> None:
        """Celery has made one."""
        self._of[request._message.delivery_tag] = request

    def drop(self, tag: str) -> None:
        """Others have been given this message, and it has not begun here."""
        if request := self._of.get(tag):
            self.dropped.add(request)

    def has_begun(self, tag: str) -> bool:
        """Whether the task of a message has begun here, and goes on."""
        request = self._of.get(tag)
        if request is None or request.time_start is None:
            return False
        return not getattr(request, "_already_cancelled", False)  # worker_cancel_long_running_tasks_on_connection_loss

    def will_begin(self, tag: str) -> bool:
        """Whether Celery begins it although it was connected anew: its timer holds it, or a pool that forgets nothing."""
        request = self._of.get(tag)
        if request is None:
            return False
        if getattr(request, "_apply_result", None) is not None:
            return getattr(self._worker.pool, "flush", None) is None
        timer = self._worker.consumer.timer
        queue = tuple(timer.schedule.queue) if timer else ()
        return any(request in scheduled.entry.args and not scheduled.entry.canceled for scheduled in queue)
