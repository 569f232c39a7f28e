"""How a worker writes to the journal: one line an event, with the priority that `journalctl -p` filters by.

FLEET_LOG=json makes each line a JSON object: at (seconds since 1970), level, logger, process, message; for events of a task also
its name, id and runtime, as far as Celery gives them; for failures the traceback.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from celery.utils.log import get_multiprocessing_logger

PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
LONGEST = 16_000
"""Characters of one line: journald cuts at 48 KiB, in the middle of a character or of JSON."""


class OneLine(logging.Formatter):
    """`<6>ForkPoolWorker-1 Task … succeeded …`. Several lines are joined by " | "."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        lines = (line.strip() for line in super().format(record).splitlines())
        return f"<{_priority(record)}>{_cut(' | '.join(line for line in lines if line))}"


class Json(logging.Formatter):
    """A JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "process": record.processName,
            "message": _cut(record.getMessage()),
        }
        task = getattr(record, "data", None)
        if isinstance(task, dict):
            fields["task"], fields["id"] = task.get("name"), task.get("id")
            if "runtime" in task:
                fields["runtime"] = task["runtime"]
        if record.exc_info:
            fields["traceback"] = _cut(self.formatException(record.exc_info))
        return f"<{_priority(record)}>{json.dumps(fields, default=str)}"


def format_lines(logger: logging.Logger | None, **_: Any) -> None:
    """Give Celery's own handlers our format: for its signals after_setup_logger and after_setup_task_logger."""
    formatter: logging.Formatter = Json() if os.environ.get("FLEET_LOG") == "json" else OneLine("%(processName)s %(message)s")
    # billiard has a logger of its own, which names a child that was killed.
    for handler in [*(logger.handlers if logger else ()), *get_multiprocessing_logger().handlers]:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setFormatter(formatter)


def _priority(record: logging.LogRecord) -> int:
    return next((priority for level, priority in PRIORITIES if record.levelno >= level), 7)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
