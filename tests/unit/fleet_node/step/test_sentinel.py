"""A step whose workers find their broker by a sentinel: the gate finds it before any worker has left word of it."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.test_brokers import of_a_sentinel
from tests.unit.fleet_node.step.test_step import drained, run
from tests.unit.process_support import machine, states


@pytest.mark.long
def test_workers_move_behind_a_sentinel_and_are_restarted_there(tmp_path: Path) -> None:
    with machine(tmp_path) as here, ExitStack() as stack:
        release = here.release("r")
        here.start(release)  # by the address of the same Redis
        url, options = of_a_sentinel(here, stack)
        here.more["CELERY_BROKER_URL"] = here.more["CELERY_RESULT_BACKEND"] = url
        settings = {"lease": 60, "broker_transport_options": options, "result_backend_transport_options": options}
        here.more["FLEET_CELERY"] = json.dumps(settings)
        assert states(run(here, here.request(release, [1], revision="v2"))) == {"web@1": "new"}
        result = run(here, here.request(release, [1], revision="v3"))
        assert states(result) == {"web@1": "new"}
        assert drained(result, 1) == "idle"
