"""Lines, areas, scales and words of a report's charts."""

import re

import pytest

from fleet.observe.report import charts, units
from fleet.observe.report.charts import Line
from fleet.observe.report.timeline import Grid, Values
from fleet.observe.report.units import NBSP, Unit

GRID = Grid(0, 60, 6)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ((0, 10, 10, 10, 5, 0), "M0 100h.5l1 -100h2l1 50l1 50h.5"),
        ((10, 10, None, None, 5, 5), "M0 0h1.5h.5M4 50h1.5h.5"),
        ((None, 10, None, None, None, None), "M1 0h1"),
        ((None, None, None), ""),
        ((99, -3), "M0 0h.5l1 100h.5"),
    ],
)
def test_a_line_has_gaps_where_nothing_is_known(values: Values, path: str) -> None:
    assert charts.line_path(values, 10) == path


def test_an_area_is_closed_at_the_bottom() -> None:
    assert charts.area_path((5, 5, None, 10), 10) == "M0 100V50h1.5h.5V100H0ZM3 100V0h1V100H3Z"


@pytest.mark.parametrize(("most", "limit", "over"), [(8, 10, False), (12, 10, True), (12, None, False)])
def test_what_is_above_a_limit_is_in_another_colour(most: float, limit: float | None, over: bool) -> None:
    drawn = charts.svg(GRID, charts.background(GRID, (), ()), [Line((1, most), "queue", filled=True)], 20, limit, "q1")
    assert ("area over" in drawn) == over
    assert ('class="limit"' in drawn) == (limit is not None)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (None, "seconds", "-"), (0, "seconds", "0 s"), (0.04, "seconds", "0 s"), (8.33, "seconds", "8.3 s"),
        (95, "seconds", "95 s"),
        (120, "seconds", "2 min"), (1860, "seconds", "31 min"), (7200, "seconds", "2 h"), (200_000, "seconds", "2.3 d"),
        (0, "number", "0"), (1234, "number", "1,234"), (2_640_000, "number", "2.64 M"),
        (0.012, "rate", "0.01/s"), (20, "rate", "20/s"), (100, "rate", "100/s"),
        (64.4, "percent", "64 %"), (780 << 20, "bytes", "780 MiB"), (3 << 29, "bytes", "1.5 GiB"), (12, "bytes", "12 B"),
    ],
)  # fmt: skip
def test_numbers_in_words(value: float | None, unit: Unit, words: str) -> None:
    assert units.text(value, unit).replace(NBSP, " ") == words


@pytest.mark.parametrize(
    ("most", "unit", "top"),
    [
        (0, "seconds", 1), (91, "seconds", 120), (600, "seconds", 600), (5e6, "seconds", 5184000), (43, "percent", 100),
        (130, "percent", 150), (0, "rate", 1), (0.7, "rate", 0.8), (165, "rate", 200), (8845, "number", 10000),
        (780 << 20, "bytes", 1 << 30), (8 << 30, "bytes", 8 << 30),
    ],
)  # fmt: skip
def test_the_top_of_a_chart_is_round(most: float, unit: Unit, top: float) -> None:
    assert units.scale(most, unit) == top


@pytest.mark.parametrize(
    ("start", "hours", "labels"),
    [
        (1_780_000_200, 6, ["21:00", "22:00", "23:00", "May 29", "01:00", "02:00"]),
        (1_780_000_200, 0.01, ["20:30:00", "20:30:05", "20:30:10", "20:30:15", "20:30:20", "20:30:25", "20:30:30", "20:30:35"]),
        (1_780_000_200, 72, ["May 29", "12:00", "May 30", "12:00", "May 31", "12:00"]),
    ],
)
def test_the_time_axis(start: float, hours: float, labels: list[str]) -> None:
    found = units.ticks(start, start + hours * 3600)
    assert [label for _, label in found] == labels
    assert all(0 <= left <= 1 for left, _ in found)


def test_numbers_for_the_script() -> None:
    assert charts.data([(1, None, 0.33333), (None, 2e9, 5)]) == "1,,0.333|,2e+09,5"
    assert re.fullmatch(r"[\d.,|e+-]*", charts.data([(1e-9, 12345.678)]))
