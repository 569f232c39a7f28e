"""Files on their way to a machine: one archive, the same bytes for the same content."""

from __future__ import annotations

import gzip
import io
import tarfile
from base64 import b64encode
from collections.abc import Iterable

from fleet.state.desired import Directory, Entry


def pack(entries: Iterable[Entry], destdir: str = "") -> bytes:
    """A gzipped tar of `entries`, with owners by name, to be unpacked in `/`. Directories come before what is in them."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in sorted(entries, key=lambda entry: entry.path):
            info = tarfile.TarInfo((destdir + entry.path).lstrip("/"))
            info.mode, info.uname, info.gname = entry.mode, entry.owner, entry.group
            if isinstance(entry, Directory):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(entry.content)
                archive.addfile(info, io.BytesIO(entry.content))
    return gzip.compress(raw.getvalue(), compresslevel=6, mtime=0)


def as_text(archive: bytes) -> str:
    """The archive for a command's stdin, which is text."""
    return b64encode(archive).decode()


def unpack_command(options: str) -> str:
    """sh that unpacks what as_text() made, from stdin. If it fails, it prints one line: tar prints the same reason a file."""
    reason = "printf '%s\\n' \"$errors\" | grep -m 1 ': Cannot ' || printf '%s\\n' \"$errors\" | head -n 1"
    return (
        f"errors=$({{ base64 -d | LC_ALL=C tar -xz {options} -f - -C /; }} 2>&1) || "
        f"{{ {{ {reason}; }} | sed 's|^tar: |/|' >&2; exit 1; }}"
    )


UNPACK = unpack_command("-pm --keep-directory-symlink")
"""tar makes each file anew, so a reader sees the old file or the new one.

With the time of unpacking (-m), or systemd would not notice that a unit file changed. A directory that somebody moved to
another disk and linked stays where it is.
"""
