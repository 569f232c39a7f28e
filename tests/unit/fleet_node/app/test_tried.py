"""Versions that nobody tried are named, with how they differ."""

import pytest

from fleet_node.app.describe import versions
from fleet_node.app.tried import untried


def test_a_newer_and_an_older_version_than_any_that_was_tried() -> None:
    assert untried({"celery": "5.8.0rc1", "kombu": "5.2.4", "redis": "8.1.0"}) == [
        "celery 5.8.0rc1: newer than any that was tried (5.3 to 5.7)",
        "kombu 5.2.4: older than any that was tried (5.3 to 5.7)",
    ]


@pytest.mark.parametrize(
    "of_app", [{"celery": "5.3.0", "kombu": "5.3.7", "redis": "4.6.0"}, {"celery": "5.7.9", "kombu": "5.7.0"}]
)
def test_versions_that_were_tried(of_app: dict[str, str]) -> None:
    assert untried(of_app) == []


def test_the_versions_that_this_project_pins_were_tried() -> None:
    assert {"celery", "kombu", "redis"} == set(versions())
    assert untried(versions()) == []
