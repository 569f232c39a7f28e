"""`python -m fleet_node.drain NODE SECONDS`: the first phase of a worker's stop, before SIGTERM (ExecStop of a
unit, preStop of a pod).

The worker takes nothing more, and finishes the tasks that run and those that it has reserved, for at most SECONDS. Meanwhile it
is a whole worker: it answers, reconnects to its broker, and acknowledges. SIGTERM then finds it idle. Redis gets back what the
worker still holds and has not begun: tasks that wait for their ETA, and tasks for which SECONDS did not suffice. A worker that
does not answer gets its SIGTERM at once: that is a drain too, Celery's own.

It prints its DrainReport (`fleet_node.protocol`) in words to the journal, and leaves it in $RUNTIME_DIRECTORY/drain.json.
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

from fleet_node import broker
from fleet_node.gate import control_file
from fleet_node.protocol import ALIVE_FILE, CONTROL_FILE, DRAIN_FILE, DrainReport, WorkerState

PATIENCE = 5.0
"""Seconds that a worker has to answer a question."""
EVERY = 0.5
"""Seconds between two questions."""
REPORT_EVERY = 15.0
"""Seconds between two lines in the journal."""


class SilentError(Exception):
    """The worker, or its broker, does not answer."""


class RemoteControl:
    """A worker's remote control, without its app: importing the app would take memory of the worker's own limit."""

    def __init__(self, node: str, connection: Connection, exchange: str = "celery", serializer: str = "json") -> None:
        self._node, self._connection = node, connection
        accept = [serializer, "json"]
        mailbox = Mailbox(exchange, type="fanout", accept=accept, serializer=serializer)  # type: ignore[no-untyped-call]
        self._mailbox = mailbox(connection)

    def drain(self) -> None:
        """Have the worker take nothing more. Raises SilentError."""
        self._ask("fleet_drain")

    def state(self) -> WorkerState:
        """The worker's state. Raises SilentError."""
        state: WorkerState = self._ask("fleet_state")
        return state

    def _ask(self, command: str) -> Any:
        try:
            replies = self._mailbox.call([self._node], command, timeout=PATIENCE)
        except Exception as error:  # kombu, Redis, or a serializer of the app's raises: all the same here
            raise SilentError(f"{type(error).__name__}: {error}") from None
        for reply in replies or ():
            answer = reply.get(self._node, {})
            if answer and "error" not in answer:
                return answer
        raise SilentError(f"no answer in {PATIENCE:g} s")

    def close(self) -> None:
        """Leave nothing in Redis: a reply queue without a reader stays for ever (celery#6089)."""
        with suppress(Exception), self._connection.channel() as channel:  # type: ignore[no-untyped-call]
            self._mailbox.reply_queue(channel).delete()


def drain(worker: RemoteControl, seconds: float) -> DrainReport:
    """Have a worker finish what it holds, for at most `seconds`."""
    started = time.monotonic()
    report: DrainReport = {"outcome": "silent", "seconds": 0.0, "running": {}, "reserved": 0, "eta": 0, "summary": ""}
    last_line, next_line = "", started
    try:
        worker.drain()
        while True:
            state = worker.state()
            report["running"], report["reserved"], report["eta"] = state["running"], state["reserved"], state["eta"]
            # Consumers are cancelled soon after the answer to drain(), not before: the worker is idle only without queues.
            idle = not (state["queues"] or state["running"] or state["reserved"])
            now = time.monotonic()
            if idle or now - started >= seconds:
                report["outcome"] = "idle" if idle else "timeout"
                break
            line = f"draining: {sum(state['running'].values())} running, {state['reserved']} reserved"
            if line != last_line and now >= next_line:
                _say(line)
                last_line, next_line = line, now + REPORT_EVERY
            time.sleep(min(EVERY, max(0.0, started + seconds - now)))
    except SilentError as error:
        report["why"] = str(error)
    report["seconds"] = round(time.monotonic() - started, 1)
    report["summary"] = summarize(report)
    return report


def summarize(report: DrainReport) -> str:
    """The report in words."""
    held = f", {report['eta']} with an ETA go back to the queue" if report["eta"] else ""
    if report["outcome"] == "idle":
        return f"drained in {report['seconds']} s{held}"
    running = ", ".join(f"{number} × {name}" for name, number in sorted(report["running"].items())) or "nothing"
    left = f"{running} still running, {report['reserved']} reserved go back to the queue{held}"
    if report["outcome"] == "timeout":
        return f"not drained after {report['seconds']} s: {left}"
    return f"does not answer ({report.get('why', '')}); SIGTERM drains it"


def gives_no_sign(folder: Path, stall: float) -> bool:
    """Whether a pod's worker stalls, or is not ready yet: the kubelet runs the hook then, too, within a probe's own short grace.

    folder: its runtime directory. stall: seconds; 0 if no probe asks for signs.
    """
    try:
        return stall > 0 and time.time() - (folder / ALIVE_FILE).stat().st_mtime > stall
    except FileNotFoundError:
        return True


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Drain the worker that systemd or a kubelet stops, if there is one."""
    if not (os.environ.get("MAINPID") or os.environ.get("FLEET_POD")):  # it has ended by itself
        return 0
    node, seconds = sys.argv[1], float(sys.argv[2])
    folder = Path(os.environ.get("RUNTIME_DIRECTORY", "."))
    if not os.environ.get("MAINPID") and gives_no_sign(folder, float(os.environ.get("FLEET_STALL_TIMEOUT") or 0)):
        _say("gives no sign of life: SIGTERM at once")
        return 0
    control = control_file.combined(control_file.read(folder / CONTROL_FILE))
    tls = control["broker_use_ssl"]
    with Connection(os.environ["CELERY_BROKER_URL"], ssl=tls, connect_timeout=PATIENCE) as connection:  # type: ignore[no-untyped-call]
        connection.transport_options.update(broker.of(connection).options(PATIENCE), **control["broker_transport_options"])
        exchange, serializer = control.get("control_exchange", "celery"), control.get("control_serializer", "json")
        worker = RemoteControl(node, connection, exchange, serializer)
        report = drain(worker, seconds)
        if report["outcome"] != "silent":  # else that would wait once more
            worker.close()
    _say(report["summary"])
    (folder / DRAIN_FILE).write_text(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
