"""What a worker loads of us, by `celery worker -I fleet_node.worker`.

It tells systemd the truth (READY when it consumes, STOPPING when it drains): with Type=notify, `systemctl start` then
succeeds only for a worker that reached its broker. And it has the task `fleet.probe`, which shows that a queue is served.
"""

import json
import os
import socket
from pathlib import Path
from typing import Any

from celery import Task, shared_task
from celery.signals import celeryd_after_setup, worker_ready, worker_shutting_down

from fleet_node import (
    control,
    drill,  # noqa: F401 - it has a task
    gate,
    settings,
)


def notify(state: str) -> None:
    """Send `state` (sd_notify(3)) to systemd; nothing where it did not start us (a worker run by hand)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _complete_settings(instance: Any, **_: Any) -> None:
    settings.apply(instance.app)  # nothing is connected yet
    if "json" in instance.app.conf.accept_content:
        instance.app.control.mailbox.serializer = "json"  # so that `fleet_node.drain` can read it, which does not know the app
    control.count_failures()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(sender: Any, **_: Any) -> None:
    _tell_how_to_reach(sender.app)
    notify(f"READY=1\nSTATUS=consuming as {sender.hostname}")


def _tell_how_to_reach(app: Any) -> None:
    """Leave, for `fleet_node.drain` and `fleet_node.gate`, what of the app's settings its remote control goes by."""
    folder = os.environ.get("RUNTIME_DIRECTORY")
    if not folder:
        return
    # sets of content types, for one, are no JSON
    told = json.dumps(gate.of(app), default=list)
    (Path(folder) / "control.json").write_text(told)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stopping(how: str, **_: Any) -> None:
    notify(f"STOPPING=1\nSTATUS=draining ({how})")


# Task, and not the app's own class: whatever that does to its results, this one comes back as it is.
@shared_task(name="fleet.probe", base=Task, ignore_result=False, expires=300)  # type: ignore[untyped-decorator]
def probe(token: str) -> dict[str, str]:
    """Answers with its argument, and with the release and revision of the worker that ran it."""
    return {
        "token": token,
        "release": os.environ.get("FLEET_RELEASE", ""),
        "revision": os.environ.get("FLEET_REVISION", ""),
    }
