"""Whether a worker gets on, and its status line."""

from dataclasses import replace

import pytest

from fleet_node.worker.progress import Activity, Progress, status

IDLE = Activity(slots=8, busy=0, reserved=0, begun=1204, done=1204, queues=("default", "priority"), connected=True)


def test_the_status_is_a_line_that_people_understand() -> None:
    assert status(replace(IDLE, busy=8, begun=1212)) == "8/8 busy · 1,204 done · queues default,priority"
    assert status(replace(IDLE, connected=False, queues=())) == "its broker is away · 0/8 busy · 1,204 done"
    assert status(replace(IDLE, queues=())) == "consumes nothing · 0/8 busy · 1,204 done"
    assert status(replace(IDLE, busy=3, reserved=2, draining=True)) == "draining: 3 running, 2 reserved · 1,204 done"


def reasons(activity: Activity, waiting: int | None, until: int = 200) -> list[tuple[int, str]]:
    progress = Progress(100, 0)
    return [(now, why) for now in range(0, until, 10) if (why := progress.stalled(activity, now, lambda: waiting))]


def test_tasks_wait_a_slot_is_free_and_nothing_begins() -> None:
    when, why = reasons(IDLE, 3)[0]
    assert when == 100
    assert why == "nothing has begun for 100 s, with 3 waiting in default,priority and 8 of 8 slots free"
    assert reasons(replace(IDLE, busy=7, reserved=1), 0)[0] == (
        100,
        "nothing has begun for 100 s, with 1 reserved and 1 of 8 slots free",
    )


@pytest.mark.parametrize(
    ("activity", "waiting"),
    [
        (IDLE, 0),  # nothing to do
        (IDLE, None),  # the broker does not say
        (replace(IDLE, busy=8), 50),  # every slot at work
        (replace(IDLE, draining=True, reserved=1), 50),
        (replace(IDLE, paused=True, reserved=1), 50),  # a rate limit
        (replace(IDLE, queues=()), 50),  # somebody took its consumers away
    ],
)
def test_a_worker_that_has_its_reasons(activity: Activity, waiting: int | None) -> None:
    assert reasons(activity, waiting, 1000) == []


def test_a_broker_that_was_away_for_long_is_no_reason_once_it_is_back() -> None:
    progress = Progress(100, 0)
    for now in range(0, 500, 10):
        assert not progress.stalled(replace(IDLE, connected=False, queues=()), now, lambda: None)
        assert not progress.stalled(replace(IDLE, connected=False), now, lambda: None)
    assert not progress.stalled(IDLE, 501, lambda: 3)
    assert not progress.stalled(IDLE, 580, lambda: 3)
    assert progress.stalled(IDLE, 601, lambda: 3), "a hundred seconds after it is back"


def test_whatever_begins_or_ends_counts() -> None:
    progress = Progress(100, 0)
    for now in range(0, 1000, 90):
        assert not progress.stalled(replace(IDLE, busy=1, begun=now, done=now), now, lambda: 5)


def test_an_idle_worker_hardly_asks() -> None:
    asked = []
    progress = Progress(100, 0)

    def waiting() -> int:
        asked.append(1)
        return 0

    for now in range(1000):
        assert not progress.stalled(IDLE, now, waiting)
    assert len(asked) == 19
