"""Files that a step writes, from the archive in its request. Standard library alone."""

from __future__ import annotations

import os
import subprocess
from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path

from fleet_node.step.errors import StepError


def write(archive: str, paths: Iterable[str], root: Path) -> None:
    """Write the files at `paths` below `root`, to disk.

    archive: a gzipped tar in base64 that holds them. Raises StepError.
    """
    members = [path.lstrip("/") for path in paths]
    if not members:
        return
    # -m: systemd compares times, and would miss a change of a unit file that keeps its old time.
    command = ["tar", "-xzpmf", "-", "-C", str(root), "--keep-directory-symlink", *members]
    tar = subprocess.run(command, input=b64decode(archive), capture_output=True, check=False)
    if tar.returncode:
        raise StepError(f"could not write the files: {tar.stderr.decode(errors='replace').strip()}")
    for member in members:  # a unit file that is empty after a power loss would start nothing
        with (root / member).open("rb") as file:
            os.fsync(file.fileno())
