"""A table on the screen of `fleet top`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.text import Text
from textual.widgets import DataTable

from fleet.cli.top.tables import Table
from fleet.observe.top import Look


class Rows(DataTable[Text]):
    """A table of a look. It keeps its cursor on the row that it was on."""

    def __init__(self, table: Table) -> None:
        super().__init__(cursor_type="row", cell_padding=0, cursor_foreground_priority="renderable")
        self.table, self.order = table, next(iter(table.sorts))
        self.shown: list[Any] = []

    def on_mount(self) -> None:
        """Make the columns."""
        for head, gap in zip(self.table.heads, self._gaps, strict=True):
            self.add_column(f"{gap}{head}", key=head, width=len(gap) + len(head))

    @property
    def _gaps(self) -> list[str]:
        """What stands before each column."""
        return [" ", *(" " * self.table.gap for _ in self.table.heads[1:])]

    @property
    def current(self) -> Any:
        """The row under the cursor; None if there is none."""
        return self.shown[self.cursor_row] if 0 <= self.cursor_row < len(self.shown) else None

    def next_order(self) -> None:
        """Sort by something else."""
        names = list(self.table.sorts)
        self.order = names[(names.index(self.order) + 1) % len(names)]

    def draw(self, look: Look, words: str, width: int, fit: Callable[[Text], Text]) -> None:
        """Show the rows of a look that a filter leaves."""
        before, known = self.current, [self.table.key(row) for row in self.shown]
        self.shown = self.table.shown(look, self.order, words)
        keys = [self.table.key(row) for row in self.shown]
        lines = [
            [fit(Text(gap, justify=cell.justify).append_text(cell)) for gap, cell in zip(self._gaps, cells, strict=True)]
            for cells in (self.table.cells(row, width) for row in self.shown)
        ]
        # Textual measures cells when it is idle, and keeps what it has painted before that, cut off: so they are measured here.
        for index, column in enumerate(self.ordered_columns):
            column.width = max(column.label.cell_len, *(cells[index].cell_len for cells in lines), 0)
        if keys == known and self.row_count == len(keys):
            for key, cells in zip(keys, lines, strict=True):
                for head, cell in zip(self.table.heads, cells, strict=True):
                    if self.get_cell(key, head) != cell:
                        self.update_cell(key, head, cell, update_width=True)
            return
        self.clear()
        for key, cells in zip(keys, lines, strict=True):
            self.add_row(*cells, key=key)
        if before is not None and self.table.key(before) in keys:
            self.move_cursor(row=keys.index(self.table.key(before)))
