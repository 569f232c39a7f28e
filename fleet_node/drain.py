"""`python -m fleet_node.drain NODE SECONDS`: the first phase of a worker's stop, before SIGTERM (systemd's ExecStop).

The worker takes nothing more, and finishes what runs and what it has reserved, for at most SECONDS. All that while it is a
whole worker: it answers, reconnects to its broker, and acknowledges. SIGTERM then finds it idle; of what it still holds (tasks
that wait for their ETA, or what SECONDS did not suffice for) Redis gets back what is not begun. A worker that does not answer
gets its SIGTERM at once: that is a drain too, Celery's own.

Says in the journal what it found, and leaves it as JSON in $RUNTIME_DIRECTORY/drain.json:
{"outcome": "idle" | "timeout" | "silent", "seconds", "running": {task: number}, "reserved", "eta", "told": the same in words}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from kombu import Connection  # type: ignore[attr-defined]  # kombu's types are unfinished
from kombu.pidbox import Mailbox

PATIENCE = 5.0
"""Seconds that a worker has to answer a question."""
EVERY = 0.5
"""Seconds between two looks."""
TELL_EVERY = 15.0
"""Seconds between two lines about the same."""


class SilentError(Exception):
    """The worker, or its broker, does not answer."""


class Worker:
    """A worker's remote control, without its app: importing that would take memory of the worker's own limit."""

    def __init__(self, node: str, connection: Connection, exchange: str = "celery", serializer: str = "json") -> None:
        self._node, self._connection = node, connection
        accept = [serializer, "json"]
        mailbox = Mailbox(exchange, type="fanout", accept=accept, serializer=serializer)  # type: ignore[no-untyped-call]
        self._mailbox = mailbox(connection)

    def ask(self, command: str) -> dict[str, Any]:
        """What it answers. Raises SilentError."""
        try:
            answers = self._mailbox.call([self._node], command, timeout=PATIENCE)
        except Exception as error:  # kombu, Redis, or what somebody's serializer raises: all the same here
            raise SilentError(f"{type(error).__name__}: {error}") from None
        for answer in answers or ():
            found: dict[str, Any] = answer.get(self._node, {})
            if found and "error" not in found:
                return found
        raise SilentError(f"no answer in {PATIENCE:g} s")

    def close(self) -> None:
        """Leave nothing in Redis: a reply queue of somebody gone stays for ever (celery#6089)."""
        with suppress(Exception), self._connection.channel() as channel:  # type: ignore[no-untyped-call]
            self._mailbox.reply_queue(channel).delete()


def drain(worker: Worker, seconds: float) -> dict[str, Any]:
    """Have a worker finish what it holds. Returns the report; `running` and `reserved` are what was left at its end."""
    started = time.monotonic()
    report: dict[str, Any] = {"outcome": "silent", "running": {}, "reserved": 0, "eta": 0}
    told = ""
    next_line = started
    try:
        worker.ask("fleet_drain")
        while True:
            found = worker.ask("fleet_state")
            report |= {name: found[name] for name in ("running", "reserved", "eta")}
            # Consumers are cancelled soon after the answer, not before: idle counts from then.
            idle = not (found["queues"] or found["running"] or found["reserved"])
            now = time.monotonic()
            if idle or now - started >= seconds:
                report["outcome"] = "idle" if idle else "timeout"
                break
            line = f"draining: {sum(found['running'].values())} running, {found['reserved']} reserved"
            if line != told and now >= next_line:
                _say(line)
                told, next_line = line, now + TELL_EVERY
            time.sleep(min(EVERY, max(0.0, started + seconds - now)))
    except SilentError as error:
        report["why"] = str(error)
    report["seconds"] = round(time.monotonic() - started, 1)
    return report


def told(report: dict[str, Any]) -> str:
    """The report for people."""
    held = f", {report['eta']} with an ETA go back to the queue" if report["eta"] else ""
    if report["outcome"] == "idle":
        return f"drained in {report['seconds']} s{held}"
    running = ", ".join(f"{number} × {name}" for name, number in sorted(report["running"].items())) or "nothing"
    left = f"{running} still running, {report['reserved']} reserved go back to the queue{held}"
    if report["outcome"] == "timeout":
        return f"not drained after {report['seconds']} s: {left}"
    return f"does not answer ({report['why']}); SIGTERM drains it"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    if not os.environ.get("MAINPID"):  # it ended by itself
        return 0
    node, seconds = sys.argv[1], float(sys.argv[2])
    folder = Path(os.environ.get("RUNTIME_DIRECTORY", "."))
    try:
        control: dict[str, Any] = json.loads((folder / "control.json").read_text())
    except (OSError, ValueError):
        control = {}
    options = {"socket_timeout": PATIENCE * 2, "socket_connect_timeout": PATIENCE, **control.get("broker_transport_options", {})}
    url = os.environ["CELERY_BROKER_URL"]
    with Connection(url, transport_options=options) as connection:  # type: ignore[no-untyped-call]
        worker = Worker(node, connection, control.get("control_exchange", "celery"), control.get("control_serializer", "json"))
        report = drain(worker, seconds)
        if report["outcome"] != "silent":  # else that would wait once more
            worker.close()
    report["told"] = told(report)
    _say(report["told"])
    (folder / "drain.json").write_text(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
