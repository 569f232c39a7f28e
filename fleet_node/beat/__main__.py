"""`python -m fleet_node.beat APP`: celery's beat. If its broker is a Redis, one of several such processes leads at a time."""

from __future__ import annotations

import argparse
import os
import socket


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m fleet_node.beat")
    parser.add_argument("app", help="as `celery -A` takes it")
    parser.add_argument("--node", default=f"beat@{socket.gethostname()}", help="the name of this process")
    parser.add_argument("--takeover", type=float, default=15, help="seconds after which another leads if the leader is dead")
    parser.add_argument("--scheduler", help="a class; as the app sets it if this is not given")
    parser.add_argument("--schedule", help="path of the file in which Celery's own scheduler keeps its runs without Redis")
    parser.add_argument("--max-interval", type=float, help="seconds between two looks at the schedule, at most")
    parser.add_argument("--loglevel", default="INFO")
    options = parser.parse_args()

    from celery.app.utils import find_app

    from fleet_node.beat.lock import is_redis
    from fleet_node.beat.service import beat
    from fleet_node.worker import pod, settings

    pod.settle_in()
    app = find_app(options.app)
    settings.apply(app, settings.of_environment())
    if url := os.environ.get("CELERY_BROKER_URL"):
        app.conf["broker_url"] = url  # it wins in any case, and RedBeat looks here alone
    beat(
        app,
        options.node,
        options.takeover,
        is_redis(app),
        scheduler=options.scheduler,
        schedule=options.schedule,
        max_interval=options.max_interval,
        loglevel=options.loglevel,
    ).run()


if __name__ == "__main__":
    main()
