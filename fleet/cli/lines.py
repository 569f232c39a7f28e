"""How commands that look at a fleet print lines and times."""

from __future__ import annotations

from rich.console import Console


def print_line(console: Console, text: str, style: str | None = None) -> None:
    """Print a line as it is: not folded, and nothing in it is markup."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def span(seconds: float) -> str:
    """A time in two characters or a few more: 12s, 5m, 3h, 2d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length or (unit == "m" and seconds >= 60):
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"
