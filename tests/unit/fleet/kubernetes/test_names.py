"""Roles as names of Kubernetes'."""

import pytest

from fleet.kubernetes import names
from fleet.kubernetes.names import LabelError


def test_names() -> None:
    assert names.labels(["web", "Web_IO", "x-"]) == {"web": "web", "Web_IO": "web-io", "x-": "x"}
    assert names.changed({"web": "web", "Web_IO": "web-io"}) == [
        "Web_IO is web-io on Kubernetes: names there have small letters, digits and hyphens"
    ]
    assert len(names.label("a" * 90)) == names.LONGEST


def test_two_that_become_one() -> None:
    with pytest.raises(LabelError, match="web_io, web-io: both would be web-io on Kubernetes; rename one of them"):
        names.labels(["web_io", "web-io"])


def test_nothing_that_is_left() -> None:
    with pytest.raises(LabelError, match="___: no letter and no digit"):
        names.label("___")
