"""Workers on one broker whose leases differ, or that have none: a fleet that changes over, an engineer's laptop."""

from pathlib import Path

import pytest

from tests.unit.fleet_node.delivery.lease_support import LEASE, begun, ended, leased, left, send, set_lease, until

pytestmark = pytest.mark.long


@pytest.mark.parametrize("lease", [None, 600])
def test_a_worker_whose_lease_is_longer_or_none_keeps_what_it_has(tmp_path: Path, lease: int | None) -> None:
    """A worker with a short lease sees that it says nothing for longer."""
    with leased(tmp_path, lease=lease) as here, here.client() as client:
        release = here.release("r")
        here.start(release, 1)
        send(client, 0, 5 * LEASE)
        send(client, 1, countdown=5 * LEASE)
        with here.redis() as redis:
            assert until(lambda: 0 in begun(here) and redis.hlen("unacked") == 2), here.output()
        set_lease(here, LEASE)
        here.start(release, 2)
        assert until(lambda: ended(here) == {0, 1}), here.output(2)
        assert begun(here) == {0: ["web-worker-1@test"], 1: ["web-worker-1@test"]}, here.output() + here.output(2)
        here.stop(list(here.running))
        assert left(here) == []


def test_what_a_worker_without_a_lease_held_is_back_when_it_starts_again(tmp_path: Path) -> None:
    with leased(tmp_path, lease=None) as here, here.client() as client:
        release = here.release("r")
        here.start(release)
        send(client, 0, 3)
        assert until(lambda: 0 in begun(here))
        here.running["celery-web@1.service"].kill()
        here.running.pop("celery-web@1.service").wait()
        here.start(release)
        assert until(lambda: ended(here) == {0}), here.output()
        assert len(begun(here)[0]) == 2
        here.stop(list(here.running))
        assert left(here) == []
