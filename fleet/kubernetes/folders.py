"""Writes files of manifests and of images: each whole or not at all, and over nothing that somebody else has put there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleet.errors import FleetError
from fleet.spec.files import write_whole
from fleet.state.desired import File

RECORD = ".fleet-build"
"""In the folder of an image: the names of the files that were written there."""


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts below a folder. Raises OSError, with the files before as they were."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())


def refuse_others(folder: Path) -> None:
    """Raises FleetError if a folder for an image has files of which no record is there, or is one that others are in."""
    if Path.cwd().is_relative_to(folder.resolve()):
        raise FleetError(f"--build {folder}: this command runs there; name a new folder")
    if not folder.exists():
        return
    record = folder / RECORD
    known = {RECORD, *(record.read_text(errors="replace").splitlines() if record.is_file() else ())}
    there = (path.relative_to(folder) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    if other := next((name for name in there if str(name) not in known), None):
        raise FleetError(f"--build {folder}: no earlier --build wrote {other}, which is there; name a new folder")


def replace(folder: Path, files: Iterable[File]) -> None:
    """Put files into a folder for an image in place of all that is there. Raises OSError, with the folder as it was."""
    files = [*files, File(RECORD, "".join(f"{file.path}\n" for file in files).encode())]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
        new = Path(place) / "new"
        for file in files:
            path = new / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            path.chmod(file.mode)
        if folder.exists():
            folder.rename(Path(place) / "before")
        new.rename(folder)
