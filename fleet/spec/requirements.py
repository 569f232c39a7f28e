"""Pinned requirements: the app's own, and what the chosen pools need besides."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(==|@)?")


def entries(text: str) -> dict[str, str]:
    """Requirement name (normalised) → its lines, hashes and continuations included. Comments and options are left out."""
    found: dict[str, str] = {}
    for block in re.sub(r"\\\n\s*", "\\\\\n    ", text).replace("\\\n", "\x00").splitlines():
        line = block.split(" #")[0].rstrip() if "\x00" not in block else block
        match = _NAME.match(line)
        if match:
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = line.replace("\x00", "\\\n")
    return found


def unpinned(text: str) -> list[str]:
    """What in `text` would not be the same twice, or not be there on a machine: no `==`, `==1.*`, options, local paths."""
    loose = [name for name, line in entries(text).items() if not (match := _NAME.match(line)) or not match[3] or ".*" in line]
    lines = (line.strip() for line in text.splitlines())
    return loose + [line for line in lines if line.startswith(("-", ".", "/")) and not line.startswith("--hash=")]


def merge(app: str, extras: Iterable[str]) -> str:
    """The app's requirements, and of each of `extras` what the app does not pin itself: the app's pins win."""
    have = set(entries(app))
    added: dict[str, str] = {}
    for extra in extras:
        added |= {name: line for name, line in entries(extra).items() if name not in have}
    return app.rstrip("\n") + "\n" + "".join(line + "\n" for _, line in sorted(added.items()))
