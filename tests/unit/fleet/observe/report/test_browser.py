"""The page in a real browser: nothing on its console, nothing asked for, dark, narrow, printed, and by keyboard."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.observe.report import page
from tests.unit.browser_support import Browser, browser
from tests.unit.fleet.observe.report.report_support import BEGIN, HOSTILE, made_up

pytestmark = pytest.mark.long
CONTRAST = """
(() => {
  const light = text => {
    const parts = text.match(/[\\d.]+/g).map(part => part / 255);
    const [r, g, b] = parts.map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  let least = 99;
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!words || element.closest("script, svg") || !element.getClientRects().length) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
})()
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.mark.parametrize("names", [(), HOSTILE])
def test_the_page_in_a_browser(chromium: Browser, tmp_path: Path, names: tuple[str, ...]) -> None:
    file = tmp_path / "report.html"
    queues, workers = (50, 200) if names else (5, 9)
    file.write_bytes(page.render(made_up(queues, workers, 6, names), "prod", BEGIN))
    before = len(chromium.requests)
    chromium.resize(1200)
    chromium.open(file.as_uri())
    assert chromium.value("document.querySelectorAll('.plot svg path.line').length") > 10
    for width, dark in ((1200, False), (1200, True), (400, False), (400, True)):
        chromium.resize(width, dark=dark)
        assert chromium.value("document.documentElement.scrollWidth") == width, "it does not scroll sideways"
        assert chromium.value(CONTRAST) >= 4.5
    assert chromium.value("getComputedStyle(document.documentElement).backgroundColor") == "rgb(20, 23, 27)"

    chromium.resize(1200)
    assert chromium.value("document.querySelector('.plot').focus(), document.activeElement.className") == "plot"
    chromium.press("Home")
    assert chromium.value("document.getElementById('status').textContent").startswith("20:30 UTC: ")
    chromium.press("ArrowRight")
    assert chromium.value("document.getElementById('status').textContent").startswith("20:32 UTC: ")
    assert chromium.value("getComputedStyle(document.querySelector('.now')).display") == "block"
    chromium.press("Escape")
    assert chromium.value("getComputedStyle(document.querySelector('.now')).display") == "none"

    chromium.resize(688, media="print")
    assert chromium.value("getComputedStyle(document.querySelector('.row')).gridTemplateColumns.split(' ').length") == 3
    assert chromium.value("getComputedStyle(document.querySelector('details')).display") == "none"
    assert 1 < len(re.findall(rb"/Type\s*/Page[^s]", chromium.pdf())) < 12
    assert chromium.complaints == []
    assert chromium.requests[before:] == [file.as_uri()]
