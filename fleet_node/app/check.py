"""`python -m fleet_node.check APP`: does the app import here, and what does it say of itself?

Reads the worker's environment as NAME=value lines on stdin. Prints one JSON object on a line of its own, after `fleet-app: `:
{"app": …} and what `fleet_node.describe` finds. Exit 1, with the traceback's last line on stderr, where the app does not import.
"""

import json
import os
import sys
import traceback

MARK = "fleet-app: "


def take_environment() -> dict[str, str]:
    """Take NAME=value lines from stdin into the environment; returns them."""
    given: dict[str, str] = {}
    for line in sys.stdin:
        name, _, value = line.rstrip("\n").partition("=")
        if name:
            os.environ[name] = given[name] = value
    return given


def _where(error: BaseException) -> str:
    """The line of the app's own that it comes from, where there is one: not Celery's, not of what it imports."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}, line {error.lineno})"
    own = [
        frame
        for one in (error.__cause__, error.__context__, error)
        if one is not None
        for frame in traceback.extract_tb(one.__traceback__)
        if "-packages/" not in frame.filename
        and not frame.filename.startswith(("<", sys.base_prefix))
        and frame.filename != __file__
    ]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def main() -> int:
    app_name = sys.argv[1]
    given = take_environment()
    try:
        from celery.app.utils import find_app

        from fleet_node.app.describe import describe

        app = find_app(app_name)
        app.loader.import_default_modules()
        app.finalize()
        found = describe(app)
    except BaseException as error:  # the app's own code may raise anything, SystemExit too
        last = traceback.format_exception_only(error)[-1].strip() + _where(error)
        sys.stderr.write(f"celery_app {app_name} does not import: {_masked(last, given)}\n")
        return 1
    for task in found["tasks"]:
        if "route_error" in task:
            task["route_error"] = _masked(task["route_error"], given)
    # A line of its own, told apart from whatever the app prints.
    sys.stdout.write(f"\n{MARK}{json.dumps({'app': app_name, **found})}\n")
    return 0


def _masked(text: str, given: dict[str, str]) -> str:
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
    os._exit(code)  # a thread that the app has started would keep us
