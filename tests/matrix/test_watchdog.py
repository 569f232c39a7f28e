"""A worker tells systemd that it gets on, and that it does not."""

import re
import socket

from tests.matrix.support import JOBS, output
from tests.unit.process_support import Machine
from tests.unit.shop_support import PATIENCE

STALLS = """
from celery.concurrency.base import BasePool
BasePool.apply_async = lambda *_, **__: None  # the pool has stopped, and the worker does not know
"""


def test_a_worker_that_begins_nothing_asks_for_its_restart(here: Machine) -> None:
    here.more["FLEET_STALL_TIMEOUT"] = "2"
    here.start(here.release("r", JOBS + STALLS))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, here.client() as client:
        address = here.runtime("celery-web@1.service") / "notify"
        address.unlink()
        systemd.bind(str(address))
        systemd.settimeout(PATIENCE)
        while b"WATCHDOG=1" not in systemd.recv(1000):
            pass
        client.send_task("jobs.work", [1], queue="default")
        while b"WATCHDOG=trigger" not in (message := systemd.recv(1000)):
            pass
    assert re.search(r"STATUS=stalled: nothing has begun for \d+ s, with 1 reserved", message.decode()), output(here)
