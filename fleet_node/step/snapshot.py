"""The files that a step replaced on a machine, and how they come back. Standard library alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fleet_node.protocol import SNAPSHOT, SNAPSHOT_FILES, UNVERIFIED, SnapshotAbout
from fleet_node.step.systemd import Supervisor

UNIT_FOLDER = "/etc/systemd/system"


class Snapshot:
    """The files of a step's units as they were before it, in `folder`, until the whole step is verified on all machines.

    Every file is root's alone: environments hold secrets.
    """

    def __init__(self, folder: Path, root: Path = Path("/")) -> None:
        self._folder, self._root = folder, root
        self._about, self._files, self._unverified = folder / SNAPSHOT, folder / SNAPSHOT_FILES, folder / UNVERIFIED

    def exists(self) -> bool:
        """Whether there is a state to go back to."""
        return self._about.exists()

    def unverified(self) -> list[str]:
        """Units of a step that was cut off before its workers were verified, by a reset of the machine for example."""
        try:
            return self._unverified.read_text().splitlines()
        except OSError:
            return []

    def mark_verified(self) -> None:
        """Record that the step's workers on this machine are well. Workers on other machines may not be."""
        self._unverified.unlink(missing_ok=True)

    def save(self, units: list[str], paths: Iterable[str]) -> None:
        """Save the files at `paths` before a step on `units`. The units count as unverified from now on."""
        members = [path.lstrip("/") for path in paths]
        self._remove_files()  # units of an earlier step stay unverified: a machine that is reset here must not forget them
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        existing = [path for path in members if (self._root / path).exists()]
        about: SnapshotAbout = {"units": units, "created": [path for path in members if path not in existing]}
        with _private(self._files) as file:
            subprocess.run(["tar", "-C", str(self._root), "-cf", "-", *_from_nothing(existing)], stdout=file, check=True)
        with _private(self._about) as file:
            file.write(json.dumps(about).encode())
        new = self._unverified.with_suffix(".new")
        with _private(new) as file:
            file.write("".join(f"{unit}\n" for unit in units).encode())
        new.replace(self._unverified)
        if not units:
            self.mark_verified()

    def restore(self) -> None:
        """Write the old files again, and remove those that the step created."""
        for path in self._read()["created"]:
            (self._root / path).unlink(missing_ok=True)
        with self._files.open("rb") as file:
            command = ["tar", "-xpmf", "-", "-C", str(self._root), "--keep-directory-symlink"]
            subprocess.run(command, stdin=file, check=True)

    def put_back(self, supervisor: Supervisor, units: Iterable[str] | None = None) -> bool:
        """Undo the step, on `units` of it or on all: restore the files, restart the old workers, end those that are new.

        Returns whether the old workers came up.
        """
        try:
            about = self._read()
        except (OSError, ValueError):
            return False
        affected = list(units if units is not None else about["units"])
        created = [unit for unit in affected if f"{UNIT_FOLDER}/{unit}".lstrip("/") in about["created"]]
        if created:
            supervisor.stop(created)
            supervisor.disable(created)
        self.restore()
        supervisor.reload()
        old = [unit for unit in affected if unit not in created]
        if old and not supervisor.bring("restart", old):
            return False
        self.discard()
        return True

    def discard(self) -> None:
        """Remove the snapshot."""
        self.mark_verified()
        self._remove_files()

    def _remove_files(self) -> None:
        for path in (self._about, self._files):
            path.unlink(missing_ok=True)
        # A release from before 2026-11-25 named them so. Delete this line when no machine runs such a release any more.
        for name in ("before.json", "before.new", "before.tar"):
            (self._folder / name).unlink(missing_ok=True)

    def _read(self) -> SnapshotAbout:
        about: SnapshotAbout = json.loads(self._about.read_text())
        return about


def _from_nothing(paths: list[str]) -> list[str]:
    return ["--", *paths] if paths else ["--files-from", "/dev/null"]


@contextmanager
def _private(path: Path) -> Iterator[BinaryIO]:
    """A file for root alone to read, on disk when the context ends: the step's own files may be there first otherwise."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
