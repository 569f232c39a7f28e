"""What a worker holds is its own as long as it lives, and another's soon after its death, however long tasks are."""

import json

from tests.matrix.support import GIVEN_BACK, JOBS, LEASE, begun, end_tree, ended, nothing_is_left, output, settings, until
from tests.unit.process_support import Machine
from tests.unit.shop_support import PATIENCE

RUNNING, RESERVED = 4, 4
"""What a worker of the tests holds: four slots, and a prefetch of 1."""


def test_what_a_living_worker_holds_runs_once(here: Machine) -> None:
    """A task of several leases, one that computes all the time, an ETA and a retry that are several leases away."""
    release = here.release("r", JOBS)
    for number in (1, 2):
        here.start(release, number)
    with here.client() as client:
        client.send_task("jobs.work", [1, 4 * LEASE], queue="default")
        client.send_task("jobs.compute", [2, 2 * LEASE], queue="default")
        client.send_task("jobs.work", [3], queue="default", countdown=5 * LEASE)
        client.send_task("jobs.later", [4, 4 * LEASE], queue="default")
        assert until(lambda: ended(here) == {1, 2, 3, 4}, 5 * LEASE + PATIENCE), output(here)
    assert until(lambda: nothing_is_left(here))
    assert begun(here) == {1: 1, 2: 1, 3: 1, 4: 2}  # the retry has begun before, and asked for itself


def test_what_a_killed_worker_held_another_has_soon_after(here: Machine) -> None:
    release = here.release("r", JOBS)
    first = here.start(release, 1)
    with here.client() as client:
        for number in range(RUNNING + RESERVED):
            client.send_task("jobs.work", [number, 2], queue="default")
        client.send_task("jobs.work", [99], queue="default", countdown=6)
        assert until(lambda: len(begun(here)) == RUNNING), output(here)
        here.start(release, 2)
        end_tree(first)
        everything = {*range(RUNNING + RESERVED), 99}
        assert until(lambda: ended(here) == everything, GIVEN_BACK + 6), f"lost: {everything - ended(here)}"
    assert until(lambda: nothing_is_left(here))
    assert set(begun(here).values()) <= {1, 2}


def test_what_a_killed_worker_held_its_successor_has_at_once(here: Machine) -> None:
    """systemd starts a worker of the same name, long before the lease is over."""
    here.more["FLEET_CELERY"] = json.dumps(settings(lease=600))
    release = here.release("r", JOBS)
    first = here.start(release)
    with here.client() as client:
        client.send_task("jobs.work", [1, 2], queue="default")
        client.send_task("jobs.work", [2], queue="default", countdown=6)
        assert until(lambda: begun(here) == {1: 1}), output(here)
        end_tree(first)
        here.start(release)
        assert until(lambda: ended(here) == {1, 2}), output(here)
    assert until(lambda: nothing_is_left(here))
