"""Prepares a worker of the fleet: `celery worker -I fleet_node.worker` imports it.

It tells systemd the truth: READY when the worker consumes, what it does, that it gets on. With Type=notify, `systemctl start`
then succeeds only for a worker that has reached its broker. Before the worker connects, it gets the fleet's settings and the
patches. It has the task `fleet.probe`, which shows that a queue is served.
"""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from celery import Task, current_app, shared_task
from celery.signals import (
    after_setup_logger,
    after_setup_task_logger,
    celeryd_after_setup,
    worker_process_init,
    worker_ready,
    worker_shutting_down,
)

from fleet_node import patches
from fleet_node.gate import control_file
from fleet_node.protocol import CONTROL_FILE, PROBE_TASK
from fleet_node.worker import caution, control, device, drill_tasks, loans, log_format, pod, settings, sign  # noqa: F401 - control registers commands
from fleet_node.worker.progress import status
from fleet_node.worker.sd_notify import notify
from fleet_node.worker.watchdog import Vitals

if "FLEET_LOG" in os.environ:
    after_setup_logger.connect(log_format.format_lines)
    after_setup_task_logger.connect(log_format.format_lines)


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _prepare(instance: Any, **_: Any) -> None:
    """Before the worker connects. What commands of remote control need is on the worker: fleet_vitals, fleet_failures,
    fleet_loans, fleet_sign."""
    pod.settle_in()
    fleet = settings.of_environment()
    caution.say(instance.app, fleet)
    settings.apply(instance.app, fleet)
    drill_tasks.install(instance.app, os.getpid())
    patches.apply(instance)
    instance.fleet_loans = loans.of_worker(instance)  # while the worker's queues are its own
    device.take_nothing_if_unavailable(instance.app)
    if "json" in instance.app.conf.accept_content:
        instance.app.control.mailbox.serializer = "json"  # `fleet_node.drain` does not know the app, and has to read it
    vitals = instance.fleet_vitals = Vitals(instance)
    instance.fleet_sign = partial(sign.sign_of, instance)

    def stopping(how: str, **_: Any) -> None:
        notify("STOPPING=1", f"STATUS=draining ({how})")
        vitals.drains()

    worker_shutting_down.connect(stopping, weak=False)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _prepare_child(**_: Any) -> None:
    """In a process of the pool. A forked process has it already."""
    drill_tasks.install(current_app._get_current_object(), main=0)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    _write_control_file(sender.app)
    vitals = sender.controller.fleet_vitals
    notify("READY=1", f"STATUS={status(vitals.activity())}")
    vitals.start()
    sender.controller.fleet_loans.resume()


def _write_control_file(app: Any) -> None:
    """Leave the app's ControlFile for `fleet_node.drain` and `fleet_node.gate`."""
    folder = os.environ.get("RUNTIME_DIRECTORY")
    if folder:
        content = json.dumps(control_file.of(app), default=list)  # a set of content types is no JSON
        (Path(folder) / CONTROL_FILE).write_text(content)


# Task, and not the app's own class: that may do anything to a result.
@shared_task(name=PROBE_TASK, base=Task, ignore_result=False, expires=300)  # type: ignore[untyped-decorator]
def probe(token: str) -> dict[str, str]:
    """Answers with its argument, and with the release and revision of the worker that ran it."""
    return {
        "token": token,
        "release": os.environ.get("FLEET_RELEASE", ""),
        "revision": os.environ.get("FLEET_REVISION", ""),
    }
