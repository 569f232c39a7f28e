"""The page: whatever the names, and however large the fleet."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from fleet.observe.report import page
from fleet.observe.report.timeline import Grid, Mark
from tests.unit.fleet.observe.report.report_support import BEGIN, HOSTILE, MARKS, made_up

END = BEGIN + 6 * 3600
VOID = {"meta", "link"}


class Reader(HTMLParser):
    """Which elements there are, whether each is closed, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(content: bytes) -> Reader:
    reader = Reader(content.decode())
    assert reader.open == []
    return reader


@pytest.mark.parametrize(
    ("queues", "workers", "hours", "names"),
    [(0, 0, 1, ()), (1, 1, 0.02, ()), (5, 9, 6, ()), (50, 200, 24, HOSTILE), (300, 2000, 24 * 30, HOSTILE)],
)
def test_the_page_is_small_and_whole(queues: int, workers: int, hours: float, names: tuple[str, ...]) -> None:
    content = page.render(made_up(queues, workers, hours, names), names[0] if names else "prod", END)
    assert len(content) <= page.LARGEST
    reader = read(content)

    tags = {tag for tag, _ in reader.attributes}
    assert not tags & {"img", "iframe", "object", "audio", "form", "base"}

    assert sum(tag == "script" for tag, _ in reader.attributes) == 1
    addresses = [
        value for _, of in reader.attributes for key, value in of.items() if key in ("href", "src", "action", "xlink:href")
    ]
    assert {(value or "")[:1] for value in addresses} <= {"#", "d"}
    assert not [key for _, of in reader.attributes for key in of if key.startswith("on")]
    identities = [of["id"] for _, of in reader.attributes if "id" in of]
    assert len(identities) == len(set(identities))
    assert {value[1:] for value in addresses if value and value[0] == "#"} <= set(identities)


def test_more_marks_than_there_is_room_for() -> None:
    marks = tuple(Mark(BEGIN + number * 5, BEGIN + number * 5 + 60, "fault", "x" * 5000) for number in range(4000))
    timeline = made_up(50, 200)
    content = page.render(replace(timeline, marks=marks), "prod", END)
    assert len(content) <= page.LARGEST
    assert re.search(r"and 39\d\d more", "".join(read(content).text))


def test_hostile_names_are_text() -> None:
    text = page.render(made_up(12, 3, 6, HOSTILE), "prod", END).decode()
    assert "<script>fetch" not in text
    assert "<img" not in text
    assert "&lt;/script&gt;&lt;script&gt;fetch(" in text
    assert "{{ 7 * 7 }}" in text
    assert "\u202e" not in text
    assert "\x07" not in text
    assert "a" * 121 not in text


def test_names_that_look_alike_are_told_apart() -> None:
    names = ("a" * 200, "a" * 300, "x\x01", "x\x02")
    text = page.render(made_up(4, 0, 6, names), "prod", END).decode()
    for label in ("x\ufffd", "x\ufffd (2)", f"{'a' * 119}… (2)"):
        assert f">{label}<" in text


def test_what_the_page_says() -> None:
    text = " ".join("".join(read(page.render(made_up(), "prod", END)).text).split())
    for words in (
        "Needs attention The broker was away for",
        "2026-05-28 20:30 to 2026-05-29 02:30 UTC",
        "6 h, from Prometheus, a point every 2 min",
        "How long the oldest task waits",
        "deploy.py by ops@ops1: failed, release 0c3a",
        "shop.tasks.orders.place_order",
    ):
        assert words in text


def test_marks_that_are_near_share_a_pin() -> None:
    timeline = made_up()
    found = page.pins(timeline.grid, MARKS)
    assert [(pin.label, pin.kind) for pin in found] == [
        ("1", "rollout"),
        ("2\u20134", "fault"),
        ("5", "fault"),
        ("6", "rollout"),
    ]
    assert "alert QueueTooOld" in found[1].title


def test_no_pin_covers_another() -> None:
    """That of several marks is wider."""
    points = Grid(0, 60, 60)
    marks = [Mark(60 * minute, None, "alert", "a") for minute in (0, 10, 12, 12.5, 20)]
    found = page.pins(points, marks)
    assert [pin.label for pin in found] == ["1", "2\u20134", "5"]


def test_every_chart_has_words_for_those_who_do_not_see_it() -> None:
    reader = read(page.render(made_up(), "prod", END))
    images = [of for _, of in reader.attributes if of.get("role") == "img"]
    assert len(images) == 5 + 2 + 3 + 8
    assert all(len(of["aria-label"] or "") > 20 for of in images)
    assert sum(tag == "details" for tag, _ in reader.attributes) == 4
    assert [of.get("lang") for tag, of in reader.attributes if tag == "html"] == ["en"]
