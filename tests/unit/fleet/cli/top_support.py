"""The screen of `fleet top` as a user has it: what is on it, and keys."""

import html
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot

from fleet.cli.top.app import TopApp
from fleet.observe.watch import Watch
from tests.unit.fleet.cli.native_support import Project
from tests.unit.shop_support import PATIENCE

CELL = 12.2
"""Width of a character in a picture of Textual's."""


class Screen:
    """An open screen."""

    def __init__(self, app: TopApp, pilot: Pilot[None]) -> None:
        self.app, self._pilot = app, pilot

    @property
    def text(self) -> str:
        """All that is on it, line by line."""
        lines: dict[float, str] = defaultdict(str)
        found = re.findall(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', self.app.export_screenshot())
        for x, y, text in sorted((float(x), float(y), text) for x, y, text in found):
            lines[y] = lines[y].ljust(round(x / CELL)) + html.unescape(text).replace("\xa0", " ")
        return "\n".join(lines[y] for y in sorted(lines))

    async def press(self, *keys: str) -> str:
        """Press keys. Returns what is on the screen then."""
        await self._pilot.press(*keys)
        await self._pilot.pause()
        return self.text

    async def shows(self, what: str | Callable[[str], object], seconds: float = PATIENCE) -> bool:
        """Whether something is on the screen, now or soon. what: a regular expression, or a condition."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if re.search(what, self.text) if isinstance(what, str) else what(self.text):
                return True
            await self._pilot.pause(0.2)
        return False


@asynccontextmanager
async def opened(
    made: Project, size: tuple[int, int] = (80, 24), objectives: Mapping[str, float] | None = None, may_act: bool = False
) -> AsyncIterator[Screen]:
    """`fleet top` of a fleet whose project is the working directory."""
    async with shown(Watch(Path("prod.py"), 0.5), size, objectives, may_act) as screen:
        yield screen


@asynccontextmanager
async def shown(
    watch: Watch, size: tuple[int, int], objectives: Mapping[str, float] | None = None, may_act: bool = False
) -> AsyncIterator[Screen]:
    """`fleet top` with such a watch."""
    watch.start()
    app = TopApp(watch, objectives or {}, may_act)
    try:
        async with app.run_test(size=size, notifications=True) as pilot:
            screen = Screen(app, pilot)
            assert await screen.shows(lambda _: app.look is not None and app.look.is_whole), screen.text
            yield screen
        app.finish()
    finally:
        watch.close()
