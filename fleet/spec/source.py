"""The files of an app's folder that a release takes, as far as a look at the folder alone tells: none is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from fleet.spec.fleet import Fleet

MB = 1_000_000
LARGE = 100 * MB
"""Bytes above which a release is worth a warning: every machine is sent all of it, and keeps `releases_kept` of them."""
_NAMED = 3


@dataclass(frozen=True)
class SourceFile:
    """A file of a release. name: its path below the app's folder. size: in bytes."""

    path: Path
    name: str
    size: int
    executable: bool


def source_files(top: Path, exclude: Sequence[str]) -> Iterator[SourceFile]:
    """The files below `top` whose names, and whose folders' names, match no pattern of `exclude`. Links are followed.

    Raises OSError for a folder that cannot be read.
    """
    yield from _below(top, "", exclude, frozenset())


def _below(folder: Path, prefix: str, exclude: Sequence[str], above: frozenset[Path]) -> Iterator[SourceFile]:
    inside = above | {folder.resolve()}
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in exclude):
            continue
        if path.is_dir():
            if path.resolve() not in inside:  # a link to where we are would never end
                yield from _below(path, f"{prefix}{path.name}/", exclude, inside)
        elif path.is_file():
            status = path.stat()
            yield SourceFile(path, prefix + path.name, status.st_size, bool(status.st_mode & 0o100))


def source_mistakes(files: Iterable[SourceFile]) -> Iterator[str]:
    """Files that cannot be shipped."""
    for file in files:
        if os.fsencode(file.name).decode(errors="ignore") != file.name:
            yield f"app_source: the name {os.fsencode(file.name)!r} is not UTF-8; rename the file, or name it in app_exclude"
        elif not os.access(file.path, os.R_OK):
            yield f"app_source: {file.path}: Permission denied; make it readable, or name it in app_exclude"


def size(files: Iterable[SourceFile]) -> int:
    """Bytes of all files together."""
    return sum(file.size for file in files)


def largest(files: Sequence[SourceFile]) -> str:
    """What is largest, as `data/big.bin 500.0 MB`: the largest files, or folders if many small files make up the size."""
    sizes = {file.name: file.size for file in files}
    if sum(sorted(sizes.values())[-_NAMED:]) * 2 < size(files):
        sizes = {}
        for file in files:
            top = file.name.partition("/")[0] + ("/" if "/" in file.name else "")
            sizes[top] = sizes.get(top, 0) + file.size
    named = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_NAMED]
    return ", ".join(f"{name} {megabytes(number)}" for name, number in named if number >= MB)


def megabytes(number: int) -> str:
    """Bytes as people read them."""
    return f"{number / MB:.1f} MB" if number >= MB / 10 else f"{number / 1000:.1f} kB"


def summary(files: Sequence[SourceFile]) -> str:
    """`3 files, 500.2 MB`; of a large release also the largest, and what to write."""
    text = f"{len(files)} file{'s' if len(files) != 1 else ''}, {megabytes(size(files))}"
    if size(files) <= LARGE:
        return text
    return f"{text}, the largest: {largest(files)}. Name what the tasks do not need in app_exclude"


def of_fleet(fleet: Fleet) -> dict[str, list[SourceFile]]:
    """app_source → the files of its release, for each app that some worker runs. Raises OSError as `source_files`."""
    settings = (host.settings for host in fleet.hosts.values() if host.workers)
    apps = dict.fromkeys((each.app_source, tuple(each.app_exclude)) for each in settings)
    return {source: list(source_files(Path(source), exclude)) for source, exclude in apps}
