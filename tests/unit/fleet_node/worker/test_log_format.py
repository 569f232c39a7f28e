"""One line an event."""

import json
import logging
import sys

from fleet_node.worker.log_format import LONGEST, Json, OneLine


def record(message: str, level: int = logging.INFO, **more: object) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": "celery.app.trace", "msg": message, "levelno": level, **more})
    record.levelname = logging.getLevelName(level)
    record.processName = "ForkPoolWorker-1"
    return record


def failed() -> logging.LogRecord:
    try:
        raise ValueError("of two\nlines")
    except ValueError:
        return record(
            "Task shop.pay[1] raised unexpected: ValueError('of two\\nlines')",
            logging.ERROR,
            exc_info=sys.exc_info(),
            data={"name": "shop.pay", "id": "1", "runtime": 0.5, "args": "('secret',)"},
        )


def test_a_traceback_is_one_line_with_its_priority() -> None:
    line = OneLine("%(processName)s %(message)s").format(failed())
    assert line.startswith("<3>ForkPoolWorker-1 Task shop.pay[1] raised unexpected: ValueError('of two\\nlines') | Traceback")
    assert line.endswith("| ValueError: of two | lines")
    assert "\n" not in line


def test_json_has_the_task_and_not_its_arguments() -> None:
    line = Json().format(failed())
    assert line.startswith("<3>{")
    assert "secret" not in line
    assert "\n" not in line
    fields = json.loads(line[3:])
    assert (fields["task"], fields["id"], fields["runtime"], fields["level"]) == ("shop.pay", "1", 0.5, "ERROR")
    assert "ValueError: of two" in fields["traceback"]


def test_what_is_too_long_for_the_journal_is_cut_and_says_so() -> None:
    assert OneLine("%(message)s").format(record("x" * 50_000)) == f"<6>{'x' * LONGEST}… (50000 characters)"
    assert json.loads(Json().format(record("x" * 50_000))[3:])["message"].endswith("… (50000 characters)")


def test_priorities_are_those_of_the_journal() -> None:
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    assert [OneLine("%(message)s").format(record("a", level))[:3] for level in levels] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
