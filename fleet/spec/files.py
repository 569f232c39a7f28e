"""Text files that a user writes: read as UTF-8, whatever the locale is."""

from __future__ import annotations

from pathlib import Path

from fleet.spec.mistakes import SpecError


def shown(path: Path) -> str:
    """A path as messages show it: relative to the working directory, if it is below."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)


def read_text(path: Path) -> str:
    """The text of a file. Raises SpecError with the line of a byte that is not UTF-8, and OSError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError([not_utf8(path)]) from None


def not_utf8(path: Path) -> str:
    """The mistake that a file is not UTF-8, with the line of its first wrong byte."""
    content = path.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"{shown(path)}, line {line}: the byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
    return f"{shown(path)}: not UTF-8; save the file as UTF-8"
