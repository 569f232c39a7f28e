"""The screen of `fleet top`: its panes, one worker, and what keys do to the fleet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Input

from fleet.cli.top import pages
from fleet.cli.top.dialogs import Page, Question
from fleet.cli.top.panes import Panes
from fleet.cli.top.widgets import Rows
from fleet.errors import FleetError
from fleet.observe.advice import unit_of
from fleet.observe.rows import QueueRow, WorkerRow
from fleet.rollout import action
from fleet.rollout.action import Action

READ_ONLY = "read-only: fleet top --allow-actions does this"


class TopApp(Panes):
    """The screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "journal", "journal"),
        Binding("P", "pause_queue", "pause queue"),
        Binding("D", "drain", "drain"),
    ]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._at_work: list[threading.Thread] = []

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """A worker: all of it. A queue: its workers."""
        rows = event.data_table
        row = rows.current if isinstance(rows, Rows) else None
        if isinstance(row, WorkerRow):
            self._show_worker(row.load.node)
        elif isinstance(row, QueueRow):
            self.query_one("#find", Input).value = row.queue.name
            self.action_pane("workers")

    def _worker(self, node: str) -> WorkerRow | None:
        return next((row for row in self.look.workers if row.load.node == node), None) if self.look else None

    def _show_worker(self, node: str) -> None:
        def text() -> Text:
            row = self._worker(node)
            return self._fit(pages.worker(row) if row else Text("It is gone."))

        def answered(key: str | None) -> None:
            if key == "j":
                self._show_journal(node)
            elif key == "D":
                self._drain(node)

        self.push_screen(Page(node, text, "j journal,D drain" if self._may_act else "j journal"), answered)

    def _current_worker(self) -> str | None:
        row = self._rows.current if self._rows is not None and self._pane == "workers" else None
        if not isinstance(row, WorkerRow):
            self.notify("choose a worker first: pane 2", severity="warning")
            return None
        return row.load.node

    def action_journal(self) -> None:
        """The journal of a worker."""
        if node := self._current_worker():
            self._show_journal(node)

    def _show_journal(self, node: str) -> None:
        row = self._worker(node)
        if row is None or row.load.host not in self._watch.inventory.hosts:
            self.notify(f"{node}: its machine is not in the inventory", severity="error")
            return
        unit, host = unit_of(node), row.load.host
        command = action.journal_shown(unit, host, self._watch.inventory.hosts[host])
        page = Page(command, lambda: Text("asking …"))
        self.push_screen(page)

        def ask() -> None:
            try:
                lines = action.journal(unit, host, self._watch.inventory.hosts[host])
                text = "\n".join(lines) or "it is empty"
            except FleetError as error:
                text = str(error)
            self._later(page.show, self._fit(Text(text)))

        self._in_thread(ask, False)

    def action_pause_queue(self) -> None:
        """Pause a queue, or resume it."""
        self._take()
        self.draw_panes()
        row = self._rows.current if self._rows is not None and self._pane == "queues" else None
        if not isinstance(row, QueueRow) or self.look is None:
            self.notify("choose a queue first: pane 1", severity="warning")
            return
        queue = row.queue.name
        nodes = self.look.could_consume(queue) if row.paused else self.look.consumers_of(queue)
        make = action.resume if row.paused else action.pause
        if not nodes:
            self.notify(f"{queue}: no worker that answers {'could' if row.paused else 'does'} consume it", severity="warning")
        elif not self._watch.url:
            self.notify("the broker does not answer", severity="error")
        else:
            self._ask_first(make(queue, nodes, self._watch.url, self._watch.file))

    def action_drain(self) -> None:
        """Drain a worker."""
        if node := self._current_worker():
            self._drain(node)

    def _drain(self, node: str) -> None:
        self._take()
        row = self._worker(node)
        if row is None or self.look is None or row.load.host not in self._watch.inventory.hosts:
            self.notify(f"{node}: its machine is not in the inventory", severity="error")
            return
        short = self.look.short_without(row)
        host = row.load.host
        self._ask_first(action.drain(node, unit_of(node), host, self._watch.inventory.hosts[host], short))

    def _ask_first(self, chosen: Action) -> None:
        if not self._may_act:
            self.notify(f"{READ_ONLY}\n{chosen.command}", title=chosen.what, severity="warning", timeout=15)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.notify(f"{chosen.what} …")
                self._in_thread(partial(self._perform, chosen), True)

        self.clear_notifications()  # on a small screen they cover it
        self.push_screen(Question(chosen), answered)

    def _perform(self, chosen: Action) -> None:
        try:
            lines = action.perform(chosen, *self._watch.records, self._watch.file)
        except FleetError as error:
            self._later(partial(self.notify, str(error), title=f"{chosen.what}: not done", severity="error", timeout=30))
        else:
            self._later(partial(self.notify, "\n".join(lines), title=f"{chosen.what}: done", timeout=15))

    def _in_thread(self, what: Callable[[], None], has_to_end: bool) -> None:
        """Run something that waits. has_to_end: the program waits for it before it ends."""
        thread = threading.Thread(target=what, daemon=True)
        if has_to_end:
            self._at_work.append(thread)
        thread.start()

    def _later(self, what: Callable[..., Any], *arguments: Any) -> None:
        """Run something in the thread of the screen, if that is still there."""
        with suppress(RuntimeError):
            self.call_from_thread(what, *arguments)

    def finish(self) -> None:
        """Wait for actions that are at work, so that each is in the history."""
        for thread in self._at_work:
            thread.join()
