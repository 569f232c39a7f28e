"""How a worker writes to the journal: one line an event, whatever it holds, with the priority that `journalctl -p` goes by.

FLEET_LOG=json makes each line a JSON object: at (seconds since 1970), level, logger, process, message; of a task's events also
task, id and runtime where there are; of failures the traceback.
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
    """`<6>ForkPoolWorker-1 Task … succeeded …`. What had several lines has them joined by " | "."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said = super().format(record)
        lines = (line.strip() for line in said.splitlines())
        return f"<{_priority(record)}>{_cut(' | '.join(line for line in lines if line))}"


class Json(logging.Formatter):
    """A JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "process": record.processName,
            "message": _cut(record.getMessage()),
        }
        of_task = getattr(record, "data", None)
        if isinstance(of_task, dict):
            told["task"], told["id"] = of_task.get("name"), of_task.get("id")
            if "runtime" in of_task:
                told["runtime"] = of_task["runtime"]
        if record.exc_info:
            told["traceback"] = _cut(self.formatException(record.exc_info))
        return f"<{_priority(record)}>{json.dumps(told, default=str)}"


def format_lines(logger: logging.Logger | None, **_: Any) -> None:
    """For celery's after_setup_logger and after_setup_task_logger: its own handlers get our format."""
    formatter: logging.Formatter = Json() if os.environ.get("FLEET_LOG") == "json" else OneLine("%(processName)s %(message)s")
    # billiard has a logger of its own: it says which child was killed.
    for handler in [*(logger.handlers if logger else ()), *get_multiprocessing_logger().handlers]:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setFormatter(formatter)


def _priority(record: logging.LogRecord) -> int:
    return next((priority for level, priority in PRIORITIES if record.levelno >= level), 7)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
