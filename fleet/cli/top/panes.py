"""The panes of `fleet top`: they draw what the watch has learnt, and never wait for a machine."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Static

from fleet.cli.top import pages
from fleet.cli.top.dialogs import Page
from fleet.cli.top.glyphs import fit, in_ascii, needs_ascii
from fleet.cli.top.tables import FLIGHT, MACHINES, QUEUES, WORKERS
from fleet.cli.top.widgets import Rows
from fleet.observe.top import Look, look_of
from fleet.observe.trend import Condition, Trend, condition, faults
from fleet.observe.watch import Watch
from fleet.spec.text import span

WIDE = (110, 34)
"""Columns and rows from which all panes are shown at once."""
PANES = {
    "queues": "Queues",
    "workers": "Workers",
    "flight": "In flight",
    "trend": "15 minutes",
    "releases": "Releases",
    "machines": "Machines",
}
"""In the order of the keys 1 to 6."""


class Panes(App[None]):
    """The panes. watch: looks at the fleet. objectives: queue → seconds that its tasks may wait."""

    TITLE = "fleet top"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", "quit", priority=True, show=False),
        Binding("tab", "next_pane(1)", "pane", priority=True),
        Binding("shift+tab", "next_pane(-1)", "pane", priority=True, show=False),
        *(Binding(str(number), f"pane('{name}')", title, show=False) for number, (name, title) in enumerate(PANES.items(), 1)),
        Binding("slash", "find", "filter"),
        Binding("escape", "show_all", "all", show=False),
        Binding("s", "sort", "sort"),
        Binding("v", "findings", "verdict"),
        Binding("p,space", "freeze", "pause"),
        Binding("question_mark", "keys", "help"),
    ]

    def __init__(self, watch: Watch, objectives: Mapping[str, float], allow_actions: bool = False) -> None:
        # Textual's own way with NO_COLOR has shades of grey.
        super().__init__(ansi_color=True if os.environ.get("NO_COLOR") else None)
        self._watch, self._objectives, self._may_act = watch, objectives, allow_actions
        self._inventory = str(watch.file)
        self._ascii = needs_ascii(os.environ)
        self.look: Look | None = None
        self.kept = Trend()
        self._condition: Condition | None = None
        self._sample_at: float | None = None
        self._words = ""
        self._frozen_at: float | None = None
        self._pane = "queues"

    def compose(self) -> ComposeResult:
        """All panes."""
        yield Static(id="head")
        yield Static(id="verdict")
        yield Static(id="tabs")
        with Vertical(id="panes"):
            with Vertical(id="queues", classes="pane"):
                yield Rows(QUEUES)
            with Vertical(id="workers", classes="pane"):
                yield Rows(WORKERS)
            with Horizontal(id="lower"):
                with VerticalScroll(id="trend", classes="pane"):
                    yield Static(id="trend-text")
                with Vertical(id="side"):
                    with Vertical(id="flight", classes="pane"):
                        yield Rows(FLIGHT)
                    with VerticalScroll(id="releases", classes="pane"):
                        yield Static(id="releases-text")
                    with Vertical(id="machines", classes="pane"):
                        yield Rows(MACHINES)
        yield Input(id="find", placeholder="words that rows must have", compact=True)
        yield Static(id="keys")

    def on_mount(self) -> None:
        """Begin to draw."""
        self.theme = "textual-dark"
        self.set_class(self._ascii, "ascii")
        self.set_class(bool(os.environ.get("NO_COLOR")), "mono")
        for name, title in PANES.items():
            self.query_one(f"#{name}").border_title = title
        self._arrange(self.size.width, self.size.height)
        self.action_pane("queues")
        for number in (signal.SIGTERM, signal.SIGHUP):
            with suppress(RuntimeError, ValueError, NotImplementedError):  # not in a test's thread
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.draw()
        self.set_interval(1.0, self.draw)

    def on_resize(self, event: events.Resize) -> None:
        """All panes, or one."""
        self._arrange(event.size.width, event.size.height)
        self.draw_panes()

    def _arrange(self, width: int, height: int) -> None:
        wide = width >= WIDE[0] and height >= WIDE[1]
        self.screen_stack[0].set_class(wide, "wide")
        self.screen_stack[0].set_class(not wide, "small")

    def draw(self) -> None:
        """Take what was learnt, and show it."""
        if not self.screen_stack or not self.screen_stack[0].query("#head"):
            return  # it ends
        if self._frozen_at is None:
            self._take()
            self.draw_panes()
        self._draw_head()

    def notify(self, message: str, *, markup: bool = False, **how: Any) -> None:
        """Say something for a while. Names of queues and nodes are in it: nothing is markup, unless that is asked for."""
        fitted, title = (self._fit(Text(text)).plain for text in (message, how.pop("title", "")))
        super().notify(fitted, title=title, markup=markup, **how)

    def _fit(self, text: Text) -> Text:
        """As the terminal can show it."""
        text = fit(text)
        return in_ascii(text) if self._ascii else text

    def _take(self) -> None:
        reading = self._watch.reading()
        look = look_of(reading, self._objectives, self._inventory)
        if look.is_whole:
            now = condition(look.judged, reading.machines)
            happened = faults(self._condition, now)
            self._condition = now
            fresh = reading.sample is not None and reading.sample.at != self._sample_at
            if fresh or happened:
                self.kept = self.kept.plus(time.time(), [row.queue for row in look.queues] if fresh else [], happened)
            self._sample_at = reading.sample.at if reading.sample else None
        self.look = look

    def _draw_head(self) -> None:
        frozen = None if self._frozen_at is None else time.monotonic() - self._frozen_at
        root = self.screen_stack[0]
        root.query_one("#head", Static).update(self._fit(pages.head(self.look, self._inventory, frozen)))
        root.query_one("#verdict", Static).update(self._fit(pages.verdict(self.look, self.size.width - 2)))
        tabs = Text()
        for number, (name, title) in enumerate(PANES.items(), 1):
            tabs.append(f"{number} {title}", "bold reverse" if name == self._pane else "").append("  ")
        root.query_one("#tabs", Static).update(tabs)
        keys = "tab pane · / filter · s sort · enter more · v findings · ? help · q quit"
        if self.size.width >= WIDE[0]:
            keys = keys.replace("? help", f"{'P pause queue · D drain · ' if self._may_act else ''}j journal · p pause · ? help")
        if self._words:
            keys = f"filter: {self._words} (esc: all) · " + keys
        root.query_one("#keys", Static).update(self._fit(Text(keys, no_wrap=True, overflow="ellipsis")))

    def draw_panes(self) -> None:
        """Show the look."""
        look, root = self.look, self.screen_stack[0]
        if look is None or not root.query(Rows):
            return
        old = look.source("broker")
        for rows in root.query(Rows):
            rows.draw(look, self._words, self.size.width, self._fit)
            pane = rows.parent
            if isinstance(pane, Vertical):
                total = len(rows.table.rows(look))
                count = f"{len(rows.shown)} of {total}" if len(rows.shown) != total else str(total)
                stale = f", {span(old.age)} old" if pane.id in ("queues", "flight") and old.is_old and old.age else ""
                pane.border_title = f"{PANES[str(pane.id)]} ({count}{stale})"
                pane.border_subtitle = f"sort: {rows.order}"
        trend = root.query_one("#trend", VerticalScroll)
        width = trend.size.width or self.size.width - 4
        history = pages.trend(look, self.kept, time.time(), width, self._words)
        root.query_one("#trend-text", Static).update(self._fit(history))
        root.query_one("#releases-text", Static).update(self._fit(pages.releases(look)))

    def action_next_pane(self, step: int) -> None:
        """Another pane."""
        if len(self.screen_stack) > 1:
            return
        names = list(PANES)
        self.action_pane(names[(names.index(self._pane) + step) % len(names)])

    def action_pane(self, name: str) -> None:
        """Go to a pane."""
        self._pane = name
        root = self.screen_stack[0]
        for node in root.query(".pane, #lower, #side"):
            node.set_class(node.id == name, "current")
        lower = name in ("trend", "flight", "releases", "machines")
        root.query_one("#lower").set_class(lower, "current")
        root.query_one("#side").set_class(lower and name != "trend", "current")
        pane = root.query_one(f"#{name}")
        (pane.query_one(Rows) if pane.query(Rows) else pane).focus()
        self._draw_head()

    @property
    def _rows(self) -> Rows | None:
        found = self.screen_stack[0].query_one(f"#{self._pane}").query(Rows)
        return found.first() if found else None

    def action_sort(self) -> None:
        """Sort the pane by something else."""
        if self._rows is not None:
            self._rows.next_order()
            self.draw_panes()

    def action_find(self) -> None:
        """Ask for words to filter by."""
        field = self.query_one("#find", Input)
        field.set_class(True, "open")
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as they are typed."""
        self._words = event.value.strip()
        self.draw_panes()
        self._draw_head()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Back to the pane, filtered."""
        self._close_find()

    def action_show_all(self) -> None:
        """Without a filter."""
        self.query_one("#find", Input).value = ""
        self._close_find()

    def _close_find(self) -> None:
        self.query_one("#find", Input).set_class(False, "open")
        self.action_pane(self._pane)

    def action_freeze(self) -> None:
        """Stop the screen, or let it go on. The watch goes on."""
        self._frozen_at = None if self._frozen_at is not None else time.monotonic()
        self.draw()

    def action_keys(self) -> None:
        """Help."""
        self.push_screen(Page("Keys", lambda: self._fit(pages.help_page(self._may_act))))

    def action_findings(self) -> None:
        """All that is wrong."""
        self.push_screen(
            Page("What is wrong, the worst first", lambda: self._fit(pages.all_findings(self.look) if self.look else Text()))
        )
