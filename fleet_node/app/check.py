"""`python -m fleet_node.app.check APP`: imports the app and describes it.

It reads the worker's environment as NAME=value lines on stdin, and prints an AppDescription (`fleet_node.protocol`) on a line of
its own, after APP_MARK. If the app does not import, it prints the last line of the traceback on stderr and exits with 1.
"""

import json
import os
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, TextIO, cast

from fleet_node.protocol import APP_MARK

MOST_WRITES, LINES = 1000, 5
"""What is kept of what an app prints, and lines of it that are shown."""


def take_environment() -> dict[str, str]:
    """Take NAME=value lines from stdin into the environment. Returns them."""
    given: dict[str, str] = {}
    for line in sys.stdin:
        name, _, value = line.rstrip("\n").partition("=")
        if name:
            os.environ[name] = given[name] = value
    return given


def _where(error: BaseException) -> str:
    """The line of the app's own code that an error comes from, if there is one: not of Celery, nor of other packages."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}, line {error.lineno})"
    own = [
        frame
        for cause in (error.__cause__, error.__context__, error)
        if cause is not None
        for frame in traceback.extract_tb(cause.__traceback__)
        if "-packages/" not in frame.filename
        and not frame.filename.startswith(("<", sys.base_prefix))
        and frame.filename != __file__
    ]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


class Kept:
    """A stream of text that also keeps what was last written to it."""

    def __init__(self, stream: Any, kept: deque[str]) -> None:
        self._stream, self._kept = stream, kept

    def write(self, text: str) -> int:
        """Write it, and keep it."""
        self._kept.append(text)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _last_lines(error: BaseException, printed: Iterable[str]) -> str:
    """What an app printed that then ended itself: its exit code alone says nothing."""
    lines = [line.strip() for line in "".join(printed).splitlines() if line.strip()][-LINES:]
    return f"; it printed last: {' | '.join(lines)}" if isinstance(error, SystemExit) and lines else ""


def main() -> int:
    """Run the command line."""
    app_name = sys.argv[1]
    given = take_environment()
    printed: deque[str] = deque(maxlen=MOST_WRITES)
    sys.stdout, sys.stderr = (cast(TextIO, Kept(stream, printed)) for stream in (sys.stdout, sys.stderr))
    try:
        from celery.app.utils import find_app

        from fleet_node.app.describe import describe

        app = find_app(app_name)
        app.loader.import_default_modules()
        app.finalize()
        description = describe(app, app_name)
    except BaseException as error:  # the app's own code may raise anything, SystemExit too
        last = traceback.format_exception_only(error)[-1].strip() + _where(error) + _last_lines(error, printed)
        sys.stderr.write(f"celery_app {app_name} does not import: {masked(last, given)}\n")
        return 1
    for routed in (*description["tasks"], *description["entries"]):
        if "route_error" in routed:
            routed["route_error"] = masked(routed["route_error"], given)
    description["scheduler"]["error"] = masked(description["scheduler"]["error"], given)
    # A line of its own, since the app may print too.
    sys.stdout.write(f"\n{APP_MARK}{json.dumps(description)}\n")
    return 0


def masked(text: str, given: Mapping[str, str]) -> str:
    """`text` without the values of the environment: they may be secrets, and this is shown and logged."""
    for name, value in given.items():
        for form in (value, repr(value)[1:-1], json.dumps(value)[1:-1]):
            if len(value) >= 6:
                text = text.replace(form, f"<{name}>")
    return text


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread of the app would keep the process alive
