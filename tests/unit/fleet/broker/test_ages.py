"""What is said of a queue's age from what the fleet has written down."""

from typing import Any

import pytest

from fleet.broker.ages import Age, Waiting, age_of, ages

NOW = 1000.0
KNOWN = {"at": 999.5, "length": 3, "covered": 999.5, "earliest": 900.0, "latest": 901.0, "known": "mark"}


@pytest.mark.parametrize(
    ("entry", "length", "age"),
    [
        (KNOWN, 3, Age(99.0, 100.0)),
        (KNOWN, 0, None),
        (None, 0, None),
        (None, 7, Age(0.0, None)),  # no worker has looked yet
        (KNOWN | {"at": 10.0}, 3, Age(99.0, 100.0)),  # none has for long: the oldest is the oldest still
        (KNOWN | {"earliest": 0.0, "known": "unknown"}, 3, Age(99.0, None)),
        (KNOWN | {"latest": 1001.0}, 3, Age(0.0, 100.0)),
        (KNOWN | {"length": 0, "earliest": None, "latest": None, "known": "empty"}, 2, Age(0.0, 0.5)),
        (KNOWN | {"earliest": None, "latest": None, "known": "eta"}, 3, None),
        (KNOWN | {"earliest": None, "latest": None, "known": "eta"}, 4, Age(0.0, 0.5)),
    ],
)
def test_the_age_of_a_list(entry: Any, length: int, age: Age | None) -> None:
    assert age_of(entry, length, NOW) == age


def test_a_queue_is_as_old_as_the_oldest_of_its_priorities() -> None:
    names = ("q", "q\x06\x163", "q\x06\x169", "other")
    entries: Any = {"q": KNOWN | {"earliest": 990.0, "latest": 991.0}, "q\x06\x163": KNOWN, "q\x06\x169": KNOWN}
    lengths = {"q": 5, "q\x06\x163": 3, "q\x06\x169": 0, "other": 2}
    queues = {name: name.partition("\x06")[0] for name in names}
    of = ages(Waiting(NOW, queues, entries, lengths))
    assert of["q"].waiting == {0: 5, 3: 3, 9: 0}
    assert (of["q"].oldest, of["q"].looked) == (Age(99.0, 100.0), 0.5)
    assert (of["other"].oldest, of["other"].looked) == (Age(0.0, None), None)


@pytest.mark.parametrize(
    ("age", "seconds"), [(Age(9.0, 10.0), 9.5), (Age(9.0, 9.0), 9.0), (Age(9.0, 60.0), 9.5), (Age(9.0, None), 9.5)]
)
def test_one_number_is_not_much_above_the_least(age: Age, seconds: float) -> None:
    assert age.seconds == seconds
