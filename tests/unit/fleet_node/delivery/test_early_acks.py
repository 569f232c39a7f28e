"""Tasks that are acknowledged before they run."""

import json
from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.lease_support import ended, kill, leased, send, until
from tests.unit.process_support import pools

PAY = """
@app.task(acks_late=False)
def pay(path, seconds):
    import time
    with open(path, "a") as paid:
        paid.write("paid\\n")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
"""


@pytest.mark.long
@pools("prefork", "threads", "gevent", "solo")
def test_a_task_that_must_not_run_twice_is_acknowledged_before_it_ends(tmp_path: Path, pool: str) -> None:
    """A loop of gevent or solo does not come by before the task ends."""
    paid = tmp_path / "paid"
    with leased(tmp_path, pool) as here, here.client() as client, here.redis() as redis:
        here.more["FLEET_CELERY"] = json.dumps({"lease": 3, "settings": {"task_acks_late": True}, "at_most_once": ["jobs.pay"]})
        release = here.release("r", PAY)
        here.start(release)
        client.send_task("jobs.pay", [str(paid), 15], queue="default")
        assert until(paid.exists), here.output()
        assert until(lambda: not redis.hlen("unacked"), 5), here.output()
        kill(here)
        here.start(release)
        send(client, 1)
        assert until(lambda: 1 in ended(here)), here.output()
        assert paid.read_text() == "paid\n"
