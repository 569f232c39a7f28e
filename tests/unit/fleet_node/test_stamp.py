"""A producer's stamp."""

import json
import subprocess
import sys

from redis import Redis

from tests.unit.fleet_node.delivery.conftest import redis  # noqa: F401
from tests.unit.fleet_node.delivery.test_ages import mark
from tests.unit.fleet_node.delivery.test_sweep import time_of

SEND = """
import sys
import fleet_node.stamp
from celery import Celery
with Celery(broker=sys.argv[1]) as app:
    app.send_task("t", queue="q")
"""


def test_one_line_makes_a_producer_say_when_it_sends(redis: Redis) -> None:  # noqa: F811
    url = f"redis://127.0.0.1:{redis.get_connection_kwargs()['port']}/0"
    before = time_of(redis)
    subprocess.run([sys.executable, "-c", SEND, url], check=True)
    stamp = json.loads(str(redis.lindex("q", 0)))["headers"]["fleet_sent_at"]
    assert before <= stamp <= time_of(redis)
    entry = mark(redis)["q"]
    assert entry["known"] == "stamp"
    assert abs((entry["latest"] or 0) - stamp) <= 0.001, "it is kept in milliseconds"
