"""How `fleet top` draws: bars, lines and cells, with and without Unicode, and what a filter leaves."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.text import Text
from textual.app import App
from textual.containers import VerticalScroll

from fleet.broker.ages import Age
from fleet.cli.top import pages
from fleet.cli.top.dialogs import Page
from fleet.cli.top.glyphs import bar, cells, in_ascii, needs_ascii, spark
from fleet.cli.top.tables import QUEUES, WORKERS, age, size
from fleet.cli.top.widgets import Rows
from fleet.observe.rows import Drift, Records
from fleet.observe.trend import Trend
from tests.unit.fleet.observe.test_top import NODES, look, reading
from tests.unit.process_support import ROOT

pytestmark = pytest.mark.usefixtures("app_folder")


@pytest.mark.parametrize(
    ("share", "drawn"), [(0.0, "░░░░░"), (0.01, "█░░░░"), (0.5, "██░░░"), (0.97, "█████"), (1.0, "█████"), (9.0, "█████")]
)
def test_a_bar(share: float, drawn: str) -> None:
    assert "".join(bar(share, 5)) == drawn


def test_a_line_of_values() -> None:
    assert spark([None, 0.0, 1.0, 8.0]) == " ▁▂█"
    assert spark([0.0, 0.0]) == "▁▁"
    assert spark([]) == ""


@pytest.mark.parametrize(
    ("numbers", "drawn"),
    [
        ((("!", 0), ("#", 2), (".", 2)), "##.."),
        ((("!", 1), ("#", 49), (".", 50)), "!####....."),
        ((("!", 1), ("#", 99), (".", 0)), "!#########"),
        ((("!", 0), ("#", 0), (".", 0)), ""),
    ],
)
def test_cells_of_slots(numbers: tuple[tuple[str, int], ...], drawn: str) -> None:
    """What is grave does not vanish among a hundred slots."""
    assert "".join(glyph * number for glyph, number in cells(numbers, 10)) == drawn


@pytest.mark.parametrize(
    ("variables", "ascii_only"),
    [
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "en_US.utf8"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, True),
        ({"LANG": "C.UTF-8"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, True),
        ({}, False),
    ],
)
def test_the_characters_of_a_terminal(variables: dict[str, str], ascii_only: bool) -> None:
    assert needs_ascii(variables) is ascii_only


@pytest.mark.parametrize(
    ("known", "drawn"),
    [(None, "-"), (Age(10.0, 10.4), "10s"), (Age(30.0, 50.0), "40s±10s"), (Age(30.0, None), ">30s")],
)
def test_an_age_and_its_bound(known: Age | None, drawn: str) -> None:
    assert age(known) == drawn


def test_a_size() -> None:
    assert [size(57 << 20), size(3 << 29), size(24 << 30)] == ["57M", "1.5G", "24G"]


def test_a_filter_looks_for_all_words() -> None:
    whole = look(reading(*NODES))
    shown = [row.load.node for row in WORKERS.shown(whole, "name", "WEB2 idle")]
    assert shown == [NODES[1]]
    assert [row.load.node for row in WORKERS.shown(whole, "name", "default")] == list(NODES), "they consume it"
    assert QUEUES.shown(whole, "name", "none") == []


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_verdict_fits_a_line(columns: int) -> None:
    whole = look(reading(*NODES, waiting=7, oldest=Age(30.0, 32.0)))
    first, second = pages.verdict(whole, columns).plain.split("\n")
    assert len(first) <= columns
    assert "LATE" in first
    assert second.endswith("fleet load inventory/prod.py")


def test_the_first_screen_asks() -> None:
    first = look(replace(reading(), machines={}, ages={}, broker=None, sample=None, broker_age=None))
    assert pages.head(first, "inventory/prod.py", None).plain.split("  ")[1:4] == [
        "broker asking",
        "workers asking",
        "machines asking",
    ]
    refused = look(replace(reading(), broker=None, sample=None, broker_age=None, broker_problem="refused"))
    assert "broker no answer  workers no answer" in pages.head(refused, "inventory/prod.py", None).plain


def test_a_long_change_leaves_the_last_runs_in_sight() -> None:
    files = "write " + " ".join(f"/opt/fleet/{number}.py" for number in range(100))
    run: Any = {"who": "ops", "pid": 1, "at": "2026-11-29T12:00:00Z", "what": "deploy.py", "outcome": "done"}
    whole = look(reading(*NODES, drift=Drift({"web1": [files, "restart a"]}, {}, 2), records=Records("", (run,))))
    lines = pages.releases(whole).plain.splitlines()
    assert max(map(len, lines)) < 80
    assert lines[-2].endswith("… +1")
    assert lines[-1] == "29 Nov 12:00 done deploy.py by ops"


def test_a_cell_that_grows_is_whole_however_early_it_is_painted() -> None:
    async def painted() -> list[str]:
        rows = Rows(QUEUES)
        app: App[None] = App()
        async with app.run_test(size=(80, 24)) as pilot:
            await app.mount(rows)
            whole = look(reading(*NODES))
            rows.draw(whole, "", 80, lambda cell: cell)
            await pilot.pause()
            rows.draw(replace(whole, queues=tuple(replace(row, paused="ops") for row in whole.queues)), "", 80, lambda cell: cell)
            rows.render_line(1)  # before the table is idle, as on a busy machine
            await pilot.pause()
            return [rows.render_line(line).text.rstrip() for line in range(len(whole.queues) + 1)]

    head, *lines = asyncio.run(painted())
    assert all("paused" in line for line in lines), lines
    assert [line.index("paused") for line in lines] == [head.index("EMPTY")] * len(lines)


def test_a_journal_is_read_from_its_end() -> None:
    async def read() -> str:
        page = Page("journal", lambda: Text("asking …"))
        app: App[None] = App()
        async with app.run_test(size=(80, 24)) as pilot:
            await app.push_screen(page)
            page.show(Text("\n".join(f"line {number}" for number in range(200))))
            await pilot.pause()
            scroll = page.query_one(VerticalScroll)
            return f"{scroll.scroll_y:.0f} of {scroll.max_scroll_y}"

    at, _, end = asyncio.run(read()).partition(" of ")
    assert at == end != "0"


def test_ascii_is_ascii() -> None:
    whole = look(reading(*NODES, waiting=7, oldest=Age(30.0, 34.0)))
    texts = [cell for row in whole.queues for cell in QUEUES.cells(row, 80)]
    texts += [cell for row in whole.workers for cell in WORKERS.cells(row, 80)]
    texts += [pages.verdict(whole, 60), pages.releases(whole), pages.all_findings(whole), pages.help_page(True)]
    texts += [pages.trend(whole, Trend().plus(0.0, [], ["a fault"]), 1.0, 80, ""), pages.worker(whole.workers[0])]
    assert [text.plain for text in map(in_ascii, texts) if not text.plain.isascii()] == []


def test_the_picture_asks_nobody_for_anything() -> None:
    picture = (ROOT / "docs" / "images" / "top.svg").read_text()
    assert set(re.findall(r"https?://[^\s\"'<]+", picture)) == {"http://www.w3.org/2000/svg"}
    assert "@font-face" not in picture and "url(http" not in picture
