"""`python -m fleet_node.check APP`: does the app import here, and what does it say of itself?

Reads the worker's environment as NAME=value lines on stdin. Prints one JSON object on a line of its own: {"app": …} and what
`fleet_node.describe` finds. Exit 1, with the traceback's last line on stderr, where the app does not import.
"""

import json
import os
import sys
import traceback


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
    given: dict[str, str] = {}
    for line in sys.stdin:
        name, _, value = line.rstrip("\n").partition("=")
        if name:
            os.environ[name] = given[name] = value
    try:
        from celery.app.utils import find_app

        from fleet_node.describe import describe

        app = find_app(app_name)
        app.loader.import_default_modules()
        app.finalize()
        found = describe(app)
    except BaseException as error:  # the app's own code may raise anything, SystemExit too
        last = traceback.format_exception_only(error)[-1].strip() + _where(error)
        for name, value in given.items():
            if len(value) >= 6:  # it may be a secret, and this is shown and logged
                last = last.replace(value, f"<{name}>")
        sys.stderr.write(f"celery_app {app_name} does not import: {last}\n")
        return 1
    # A line of its own, whatever the app has printed.
    sys.stdout.write(f"\n{json.dumps({'app': app_name, **found})}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
