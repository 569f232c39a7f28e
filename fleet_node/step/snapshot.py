"""What a step replaced on a machine, and how it comes back. Standard library alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet_node.step.systemd import Supervisor

UNITS = "/etc/systemd/system"


class Snapshot:
    """The files of a step's units as they were, kept in `folder` until the step is judged."""

    def __init__(self, folder: Path, root: Path = Path("/")) -> None:
        self._folder, self._root = folder, root
        self._about, self._files = folder / "before.json", folder / "before.tar"

    def exists(self) -> bool:
        """Whether there is something to go back to."""
        return self._about.exists()

    def unjudged(self) -> list[str]:
        """Units of a step that was cut off before anybody knew whether they are well: the machine was reset, say."""
        try:
            about = json.loads(self._about.read_text())
        except (OSError, ValueError):
            return []
        return [] if about.get("judged") else list(about["units"])

    def judged(self) -> None:
        """The step's workers are well; whether its other machines' are is still to be seen."""
        about = {**json.loads(self._about.read_text()), "judged": True}
        with _private(self._about.with_suffix(".new")) as file:
            file.write(json.dumps(about).encode())
        self._about.with_suffix(".new").replace(self._about)

    def remember(self, units: list[str], paths: Iterable[str]) -> None:
        """Keep the files at `paths` before a step on `units`, for root alone to read: environments hold secrets."""
        members = [path.lstrip("/") for path in paths]
        self.forget()
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        there = [path for path in members if (self._root / path).exists()]
        new = [path for path in members if path not in there]
        about = {"units": units, "new": new}
        with _private(self._about) as file:
            file.write(json.dumps(about).encode())
        with _private(self._files) as file:
            subprocess.run(["tar", "-C", str(self._root), "-cf", "-", *_from_nothing(there)], stdout=file, check=True)

    def restore(self) -> None:
        """The old files again; those that there were none of go."""
        for path in json.loads(self._about.read_text())["new"]:
            (self._root / path).unlink(missing_ok=True)
        with self._files.open("rb") as file:
            command = ["tar", "-xpmf", "-", "-C", str(self._root), "--keep-directory-symlink"]
            subprocess.run(command, stdin=file, check=True)

    def put_back(self, supervisor: Supervisor, units: Iterable[str] | None = None) -> bool:
        """Undo the step (on `units` of it): its files as they were, its workers restarted on them; those that are new go.

        Whether they came up.
        """
        try:
            about = json.loads(self._about.read_text())
        except (OSError, ValueError):
            return False
        wanted = list(units if units is not None else about["units"])
        gone = [unit for unit in wanted if f"{UNITS}/{unit}".lstrip("/") in about["new"]]
        if gone:
            supervisor.stop(gone)
            supervisor.disable(gone)
        self.restore()
        supervisor.reload()
        old = [unit for unit in wanted if unit not in gone]
        if old and not supervisor.bring("restart", old):
            return False
        self.forget()
        return True

    def forget(self) -> None:
        """Let go of it."""
        for path in (self._about, self._files):
            path.unlink(missing_ok=True)


def _from_nothing(paths: list[str]) -> list[str]:
    return ["--", *paths] if paths else ["--files-from", "/dev/null"]


@contextmanager
def _private(path: Path) -> Iterator[Any]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        yield file
