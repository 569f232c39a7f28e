"""Pinned requirements: the app's own, merged with those of the chosen pools."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(==|@)?")


def entries(text: str) -> dict[str, str]:
    """Normalised requirement name → its lines, with hashes and continuations. Comments and options are left out."""
    by_name: dict[str, str] = {}
    for block in re.sub(r"\\\n\s*", "\\\\\n    ", text).replace("\\\n", "\x00").splitlines():
        line = block.split(" #")[0].rstrip() if "\x00" not in block else block
        match = _NAME.match(line)
        if match:
            by_name[re.sub(r"[-_.]+", "-", match[1]).lower()] = line.replace("\x00", "\\\n")
    return by_name


def unpinned(text: str) -> list[str]:
    """Lines that could install something else the next time, or would be missing on a machine: no `==`, `==1.*`, options, local
    paths."""
    loose = [name for name, line in entries(text).items() if not (match := _NAME.match(line)) or not match[3] or ".*" in line]
    lines = (line.strip() for line in text.splitlines())
    return loose + [line for line in lines if line.startswith(("-", ".", "/")) and not line.startswith("--hash=")]


def merge(app: str, extras: Iterable[str]) -> str:
    """The app's requirements, and those of `extras` that the app does not pin itself. The app's pins take precedence."""
    pinned = set(entries(app))
    added: dict[str, str] = {}
    for extra in extras:
        added |= {name: line for name, line in entries(extra).items() if name not in pinned}
    return app.rstrip("\n") + "\n" + "".join(line + "\n" for _, line in sorted(added.items()))
