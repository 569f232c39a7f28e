"""What Celery has made of the messages that a worker holds."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
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

    def forgotten(self, tags: Iterable[str]) -> list[str]:
        """Those of `tags` that Celery does not begin any more since it was connected anew. It begins what its timer holds, or a
        pool that forgets nothing."""
        timer = self._worker.consumer.timer
        entries = [scheduled.entry for scheduled in tuple(timer.schedule.queue)] if timer else []
        in_timer = {id(argument) for entry in entries if not entry.canceled for argument in entry.args}
        return [tag for tag in tags if not self._will_begin(self._of.get(tag), in_timer)]

    def _will_begin(self, request: Any, in_timer: set[int]) -> bool:
        if getattr(request, "_apply_result", None) is not None:
            return getattr(self._worker.pool, "flush", None) is None
        return request is not None and id(request) in in_timer
