"""How messages show lists, and suggest the nearest name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def enumerate_briefly(names: Iterable[str]) -> str:
    """The first three names, and the number of the others."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean NEAREST?`; empty if no known name is near."""
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""
