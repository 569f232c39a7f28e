"""How commands that look at a fleet print lines."""

from __future__ import annotations

from rich.console import Console

from fleet.spec.text import printable


def print_line(console: Console, text: str, style: str | None = None) -> None:
    """Print a line as it is: not folded, and nothing in it is markup or moves the cursor."""
    console.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)
