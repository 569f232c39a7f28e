"""The end of a machine's log, for an error message."""

import re
from pathlib import Path

CONSOLE_LINES = 8


def last_lines(path: Path, count: int = CONSOLE_LINES) -> str:
    """The last `count` lines of a log, indented, without terminal escapes; empty when there are none."""
    if not path.exists():
        return ""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f]", "", path.read_text(errors="replace"))
    return "\n".join(f"  {line}" for line in [line for line in text.splitlines() if line.strip()][-count:])
