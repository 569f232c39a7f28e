"""What `fleet top` shows above its panes: a page to read, and a question to answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from fleet.cli.top.glyphs import fit
from fleet.rollout.action import Action
from fleet.spec.text import printable


def as_title(text: str) -> Content:
    """A title with others' names in it, in which nothing is markup."""
    return Content(printable(text))


class Page(ModalScreen[str]):
    """A page to read. It returns the key that closed it, if that is one of `keys`; else an empty text."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,question_mark", "close_page", "back", show=False)]

    def __init__(self, title: str, text: Callable[[], Text], keys: str = "") -> None:
        """text: makes the page, again each second. keys: besides those that close it."""
        super().__init__()
        self._title, self._text, self._keys = title, text, keys

    def compose(self) -> ComposeResult:
        """The page."""
        with VerticalScroll(classes="page") as page:
            page.border_title = as_title(self._title)
            page.border_subtitle = "esc back" + "".join(f", {key}" for key in self._keys.split(",") if key)
            yield Static(self._text())

    def on_mount(self) -> None:
        """Keep it fresh."""
        self.set_interval(1.0, self.draw)

    def draw(self) -> None:
        """Make the page again."""
        self.query_one(Static).update(self._text())

    def show(self, text: Text) -> None:
        """Show another text, from its end: of a journal, that is what happened last."""
        self._text = lambda: text
        if self.is_mounted:
            self.draw()
            self.query_one(VerticalScroll).scroll_end(animate=False)

    def on_key(self, event: object) -> None:
        """A key of the page's own closes it."""
        key = getattr(event, "character", None) or ""
        if key and key in [entry.split()[0] for entry in self._keys.split(",") if entry]:
            self.dismiss(key)

    def action_close_page(self) -> None:
        """Back to the panes."""
        self.dismiss("")


class Question(ModalScreen[bool]):
    """Asks before an action. Only y does it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,Y", "answer(True)", "yes", show=False),
        Binding("n,N,escape,q,enter", "answer(False)", "no", show=False),
    ]

    def __init__(self, action: Action) -> None:
        super().__init__()
        self._action = action

    def compose(self) -> ComposeResult:
        """The question, what follows from it, and the command that does the same."""
        action = self._action
        text = Text(f"{action.question}\n", "bold")
        for line in action.consequences:
            text.append(f"{line}\n", "bold red" if line.startswith("WARNING") else "not bold")
        text.append("\nBy hand:\n", "not bold dim").append(f"{action.command}\n\n", "not bold cyan")
        text.append("y", "bold reverse").append(" do it   ", "not bold").append("n", "bold reverse").append(
            " leave it", "not bold"
        )
        with Vertical(classes="page question") as page:
            page.border_title = as_title(action.what)
            yield Static(fit(text))

    def action_answer(self, yes: bool) -> None:
        """Close it."""
        self.dismiss(yes)
