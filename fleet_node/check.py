"""`python -m fleet_node.check APP`: does the app import here, and what does it say of itself?

Reads the worker's environment as NAME=value lines on stdin. Prints one JSON object on a line of its own: {"app": …} and what
`fleet_node.describe` finds. Exit 1, with the traceback's last line on stderr, where the app does not import.
"""

import json
import os
import sys
import traceback


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
        last = traceback.format_exception_only(error)[-1].strip()
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
