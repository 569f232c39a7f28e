"""sh that brings units up, and shows why one does not come."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def words(names: Iterable[str]) -> str:
    """Names as words of a shell command."""
    return " ".join(map(shlex.quote, names))


def show(units: Iterable[str]) -> str:
    """Print, on stderr, the end of the journal of each of `units` that does not run."""
    return (
        f"for unit in {words(units)}; do systemctl is-active --quiet $unit || {{ "
        'echo "$unit did not come up; the end of its journal:"; journalctl --no-pager -o cat -n 15 -u $unit; }; done >&2'
    )


def act(verb: str, units: Iterable[str]) -> str:
    """`systemctl VERB` (start or restart). If a unit does not come up, the command prints why and exits with 1."""
    units = tuple(units)
    return f"systemctl {verb} {words(units)} || {{ {show(units)}; exit 1; }}"


def activate(verb: str, units: Iterable[str]) -> str:
    """act(), after the units were enabled."""
    units = tuple(units)
    return f"systemctl enable --quiet {words(units)}; {act(verb, units)}"


def disable(units: Iterable[str]) -> str:
    """Stop and disable those of `units` that there are. A step may have ended a second instance, and removed its unit, since the
    machine was looked at. A unit that runs and has no file is stopped alone."""
    return (
        f'set --; for unit in {words(units)}; do if systemctl cat "$unit" >/dev/null 2>&1; then set -- "$@" "$unit"; '
        'elif systemctl is-active --quiet "$unit"; then systemctl stop "$unit"; fi; done; '
        '[ $# = 0 ] || systemctl disable --now "$@"'
    )
