"""A worker with Celery's --autoscale: what the fleet says and asks of it is as of one with all its processes."""

from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.lease_support import begun, ended, leased, send, until
from tests.unit.fleet_node.worker.test_loans import lend, sign

pytestmark = pytest.mark.long
UNIT = "celery-web@1.service"


def test_it_has_all_its_slots_and_few_processes_while_it_is_idle(tmp_path: Path) -> None:
    with leased(tmp_path, "prefork") as here, here.client() as client:
        here.flags = "--autoscale=4,1"
        worker = here.start(here.release("r"))
        assert until(lambda: sign(client)["slots"] == 4)
        assert children(worker.pid) == 1
        for number in range(4):
            send(client, number, 6)
        assert until(lambda: len(begun(here)) == 4)
        assert not ended(here), "they run at once"
        assert children(worker.pid) == 4
        assert "--autoscale" in lend(client, [], 60, slots=1)["error"]
        lend(client, ["other"], 60)
        send(client, 10, queue="other")
        assert until(lambda: ended(here) == {0, 1, 2, 3, 10})
        here.stop([UNIT])


def children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
