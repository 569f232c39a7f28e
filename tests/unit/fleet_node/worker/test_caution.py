"""A worker says when it starts whatever weakens the fleet's promises."""

from pathlib import Path

import pytest

from fleet_node.worker.caution import of_timeouts, of_versions
from tests.unit.fleet_node.delivery.lease_support import leased, until
from tests.unit.process_support import pools

NEWER = """
import celery, kombu
celery.__version__ = kombu.__version__ = "5.8.0"  # as if they were
@app.task(name="quick")
def quick():
    pass
"""
NEWER_THAN_TRIED = "newer than any that was tried (5.3 to 5.7)"
SHORT = "\napp.conf.broker_transport_options = {'visibility_timeout': 2}\n"
OTHER = "\nother = Celery('other')\nother.conf.broker_transport_options = {'visibility_timeout': 2}\n"


def test_a_version_is_named_and_that_there_is_no_lease() -> None:
    assert of_versions({"celery": "5.7.0", "kombu": "5.7.0", "redis": "8.1.0"}) == ""
    assert of_versions({"celery": "5.8.0", "kombu": "5.7.0"}) == (
        f"celery 5.8.0: {NEWER_THAN_TRIED}: this worker runs it as it is, and without a lease; pin one that was tried"
    )
    assert "lease" not in of_versions({"celery": "5.7.0", "kombu": "5.7.0", "redis": "9.0.0"})


def test_only_a_timeout_that_is_shorter_than_the_lease_is_named() -> None:
    (words,) = of_timeouts([("a", 59), ("b", 60), ("c", None), ("d", "auto")], lease=60)
    assert words.startswith("a: a visibility timeout of 59 s is shorter than the lease of 60 s")


@pytest.mark.long
@pools("threads", "prefork", "gevent")
def test_a_worker_of_a_newer_version_says_so_once_and_works(tmp_path: Path, pool: str) -> None:
    with leased(tmp_path, pool) as here, here.client() as client, here.redis() as redis:
        here.more["FLEET_LOG"] = "text"
        here.start(here.release("r", NEWER))
        client.send_task("quick", queue="default")
        assert until(lambda: "succeeded in" in here.output()), here.output()
        critical = [line for line in here.output().splitlines() if line.startswith("<2>")]
        assert len(critical) == 1, critical
        assert f"celery 5.8.0: {NEWER_THAN_TRIED}; kombu 5.8.0: {NEWER_THAN_TRIED}" in critical[0]
        assert "without a lease" in critical[0]
        assert "delivery is not mended with these versions" in here.output()
        assert not redis.exists("fleet.workers")  # it has no lease
        here.stop(["celery-web@1.service"])
        assert until(lambda: not redis.hlen("unacked"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("more", "place"),
    [(SHORT, "broker_transport_options of the app jobs"), (OTHER, "broker_transport_options of the app other")],
    ids=["the app", "another app"],
)
def test_a_worker_whose_app_would_take_tasks_from_others_says_so_once(tmp_path: Path, more: str, place: str) -> None:
    with leased(tmp_path, broker_transport_options={"visibility_timeout": 3600}) as here:
        here.more["FLEET_LOG"] = "text"
        here.start(here.release("r", more))
        (critical,) = [line for line in here.output().splitlines() if line.startswith("<2>")]
        assert f"{place}: a visibility timeout of 2 s is shorter than the lease of 3 s" in critical


@pytest.mark.long
def test_a_worker_that_has_nothing_to_say_says_nothing(tmp_path: Path) -> None:
    with leased(tmp_path) as here:
        here.more["FLEET_LOG"] = "text"
        here.start(here.release("r", SHORT.replace("2", "3")))
        assert not [line for line in here.output().splitlines() if line.startswith("<2>")]
