"""What a worker loads of us, by `celery worker -I fleet_node.worker`.

It tells systemd the truth (READY when it consumes, what it is at, that it gets on): with Type=notify, `systemctl start` then
succeeds only for a worker that reached its broker. It has the fleet's settings before it connects, Celery's defects mended, a
limit to how often a task may take it down, and the task `fleet.probe`, which shows that a queue is served.
"""

import json
import os
from pathlib import Path
from typing import Any

from celery import Task, shared_task
from celery.signals import after_setup_logger, after_setup_task_logger, celeryd_after_setup, worker_ready, worker_shutting_down

from fleet_node import drill  # noqa: F401 - it has a task
from fleet_node.gate import control_file
from fleet_node.patches import reconnect, register, reliable_fetch
from fleet_node.worker import control, device, log_format, parking, settings
from fleet_node.worker.progress import status
from fleet_node.worker.sd_notify import notify
from fleet_node.worker.watchdog import Vitals

if "FLEET_LOG" in os.environ:
    after_setup_logger.connect(log_format.format_lines)
    after_setup_task_logger.connect(log_format.format_lines)

_vitals: list[Vitals] = []


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _complete(instance: Any, **_: Any) -> None:
    settings.apply(instance.app, settings.of_environment())  # nothing is connected yet
    register.apply(instance)
    reconnect.soon()
    parking.watch(instance.app)
    device.take_nothing_if_unavailable(instance.app)
    if "json" in instance.app.conf.accept_content:
        instance.app.control.mailbox.serializer = "json"  # so that `fleet_node.drain` can read it, which does not know the app
    control.count_failures()
    _vitals[:] = [Vitals(instance)]
    control.when_drained(_vitals[0].drains)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    _tell_how_to_reach(sender.app)
    notify("READY=1", f"STATUS={status(_vitals[0].activity())}")
    _vitals[0].start()
    reliable_fetch.ring_from_now()
    parking.take_back(sender.app)


def _tell_how_to_reach(app: Any) -> None:
    """Leave, for `fleet_node.drain` and `fleet_node.gate`, what of the app's settings its remote control goes by."""
    folder = os.environ.get("RUNTIME_DIRECTORY")
    if not folder:
        return
    # sets of content types, for one, are no JSON
    told = json.dumps(control_file.of(app), default=list)
    (Path(folder) / "control.json").write_text(told)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stopping(how: str, **_: Any) -> None:
    notify("STOPPING=1", f"STATUS=draining ({how})")
    for vitals in _vitals:
        vitals.drains()


# Task, and not the app's own class: whatever that does to its results, this one comes back as it is.
@shared_task(name="fleet.probe", base=Task, ignore_result=False, expires=300)  # type: ignore[untyped-decorator]
def probe(token: str) -> dict[str, str]:
    """Answers with its argument, and with the release and revision of the worker that ran it."""
    return {
        "token": token,
        "release": os.environ.get("FLEET_RELEASE", ""),
        "revision": os.environ.get("FLEET_REVISION", ""),
    }
