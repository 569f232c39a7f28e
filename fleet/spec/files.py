"""Text files that a user writes, read as UTF-8 whatever the locale is; and files that are written whole or not at all."""

from __future__ import annotations

import os
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


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file in place of the one that is there. mode: what it may at most have. Raises OSError, with the file as it was."""
    new = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(content)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
