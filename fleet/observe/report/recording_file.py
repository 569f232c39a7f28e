"""The file that `fleet record` appends to: whole lines, a bounded size, one writer."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleet.observe.report.recording import Header, RecordingError, read_header


class RecordingFile:
    """A recording that is open for more. It never gets longer than `most` bytes: its older half goes then."""

    def __init__(self, path: Path, header: Header, most: int) -> None:
        """Opens the file, or begins it. Raises RecordingError if it is none, of another fleet, or being written."""
        self.path, self.most = path, most
        exists = path.exists() and path.stat().st_size > 0
        if exists and (fleet := read_header(path).fleet) != header.fleet:
            raise RecordingError(f"{path}: a recording of another fleet ({fleet}); this one is {header.fleet}")
        self.header = (header.line() + "\n").encode()
        self.file = _locked(path)
        if exists and not _ends_with_line(path):
            self._write(b"\n")  # what a killed run has left is a line of its own
        self._write(self.header)

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self.file.fileno()).st_size

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write a sample, in one piece. Raises RecordingError if there is no room."""
        line = (json.dumps(entry, separators=(",", ":")) + "\n").encode()
        if not self.path.exists():  # somebody has moved it away
            self.file.close()
            self.file = _locked(self.path)
            self._write(self.header)
        if self.size + len(line) > self.most:
            self._halve()
        self._write(line)

    def _write(self, line: bytes) -> None:
        try:
            if self.file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RecordingError(f"{self.path}: {error.strerror}") from None

    def _halve(self) -> None:
        part = self.path.with_name(f"{self.path.name}.part")
        with self.path.open("rb") as old, part.open("wb") as new:
            old.seek(max(0, self.size - self.most // 2))
            old.readline()
            new.write(self.header)
            while block := old.read(1 << 20):
                new.write(block)
        self.file.close()
        part.replace(self.path)
        self.file = _locked(self.path)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _locked(path: Path) -> Any:
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RecordingError(f"{path}: another fleet record writes to it") from None
    return file


def _ends_with_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
