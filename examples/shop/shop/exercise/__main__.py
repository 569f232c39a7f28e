"""The command: send, wait, report."""

import argparse
import json
import sys
import time
import uuid
from typing import Any

from celery.exceptions import OperationalError
from redis.exceptions import RedisError

from shop.app import app
from shop.exercise import report
from shop.exercise.plan import Job, jobs
from shop.exercise.supplier import Supplier


def main() -> int:
    """Exit status: 0; 1 if an answer is missing or wrong, or nothing could be sent; 130 after Ctrl-C."""
    options = arguments()
    host, port = options.supplier_listen
    try:
        supplier = Supplier(host, port)
    except OSError as error:
        say(f"cannot listen on {host}:{port} (--supplier-listen): {error.strerror}", sys.stderr)
        return 1
    progress = Progress(options.tasks)
    sent: dict[str, Job] = {}
    answers: dict[str, Any] = {}
    try:
        with supplier:
            url = f"http://{options.supplier_host}:{supplier.server_port}"
            connect()
            run = f"exercise-{uuid.uuid4().hex[:12]}"
            send(jobs(options.tasks, url, supplier.prices, run), options.timeout, sent)
            wait(sent, answers, options.timeout, progress)
    except KeyboardInterrupt:
        say(f"\nstopped: {len(sent)} tasks sent, {len(answers)} answered; the workers still finish the rest", sys.stderr)
        return 130
    except (OperationalError, RedisError, RuntimeError) as error:  # a RuntimeError: lost in the middle, 20 tries later
        broker, results = app.connection_for_write().as_uri(), app.backend.as_uri()
        say(f"cannot send to {broker}, or not read results from {results}: {str(error).strip()}", sys.stderr)
        return 1
    outcomes = [report.judge(key, job, queue_of(job.task), answers.get(key)) for key, job in sent.items()]
    summary = report.as_json(outcomes, progress.seconds())
    if options.json:
        say(json.dumps(summary))
    else:
        say(report.table(outcomes))
        say("{sent} sent, {finished} answered, {wrong} wrong, {lost} lost in {seconds} s".format(**summary))
    problems = report.complaints(outcomes)
    for problem in problems:
        say(problem, sys.stderr)
    return 1 if problems else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m shop.exercise", description="Send tasks of every kind and check every answer."
    )
    parser.add_argument("--tasks", type=positive, default=240, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--timeout", type=positive, default=300, metavar="SECONDS", help="give up after (default: %(default)s)")
    parser.add_argument(
        "--supplier-listen",
        type=address,
        default=("127.0.0.1", 0),
        metavar="HOST:PORT",
        help="where this command serves the prices; port 0 takes a free one (default: 127.0.0.1:0)",
    )
    parser.add_argument(
        "--supplier-host", default="127.0.0.1", metavar="HOST", help="the name workers reach it by (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print counts as one JSON object instead of a table")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def address(text: str) -> tuple[str, int]:
    """HOST:PORT."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, as in 127.0.0.1:0")
    return host, int(port)


def connect() -> None:
    """Raise within seconds if the broker or the result backend does not answer: sending alone would retry for long."""
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0.5)
    app.backend.client.ping()


def send(planned: list[Job], timeout: int, sent: dict[str, Job]) -> None:
    """Publish every job. `sent` grows on the way, so that an interrupted run knows how far it came."""
    # Tasks that no worker took expire: the supplier is gone by then. An hour more, for machines whose clocks differ.
    expires = timeout + 3600
    with app.producer_or_acquire() as producer:
        for job in planned:
            sent[app.send_task(job.task, job.args, producer=producer, expires=expires).id] = job


def wait(sent: dict[str, Job], answers: dict[str, Any], timeout: int, progress: "Progress") -> None:
    """Collect answers until none is missing, or `timeout` seconds since the start are over."""
    while (missing := sent.keys() - answers.keys()) and progress.seconds() < timeout:
        progress.show(len(answers))
        try:
            # Read the stored results, do not wait for messages: a lost message is not a lost task. One round and a pause.
            answers.update(app.backend.get_many(missing, interval=0.2, max_iterations=1))
        except RedisError:
            time.sleep(1)  # a broker may restart; the timeout holds
    progress.show(len(answers), last=True)


def queue_of(task: str) -> str:
    """The queue the app's routes send a task to."""
    return str(app.amqp.router.route({}, task)["queue"].name)


class Progress:
    """Progress on stderr: one line rewritten on a terminal, else a line every 5 s."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.started = time.monotonic()
        self.live = sys.stderr.isatty()
        self.next = 0.0

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def show(self, done: int, last: bool = False) -> None:
        """Print at most every 5 s (0.2 s on a terminal), and always if it is the last time."""
        if self.seconds() < self.next and not last:
            return
        self.next = self.seconds() + (0.2 if self.live else 5)
        start, end = ("\r", "\n" if last else "") if self.live else ("", "\n")
        say(f"{start}{done} of {self.total} done, {self.seconds():.0f} s", sys.stderr, end)


def say(text: str, stream: Any = None, end: str = "\n") -> None:
    """Write a line, at once."""
    stream = stream or sys.stdout
    stream.write(text + end)
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
