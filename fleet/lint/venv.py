"""A virtual environment with the app's requirements, so that the app can be loaded on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from fleet.errors import FleetError
from fleet.spec import pins
from fleet.spec.pools import GREEN
from fleet.spec.requirements import merge

ROOT = Path(__file__).parents[2]
_BUILD_TIMEOUT = 900  # seconds


class VenvError(FleetError):
    """The virtual environment could not be built. str() is what the user reads."""


def python_with(requirements: Path, pools: tuple[str, ...], say: Callable[[str], None]) -> Path:
    """The Python of a venv with the app's pinned requirements, and those of its pools. The venv is built once, and kept.

    say: takes a message if the venv is built. Raises VenvError.
    """
    pool_requirements = [(ROOT / "requirements" / f"{pool}.txt").read_text() for pool in GREEN if pool in pools]
    merged = merge(pins.text_of(requirements), pool_requirements)
    digest = sha256(f"{sys.version_info[:2]}\0{merged}".encode()).hexdigest()[:16]
    venv = cache_folder() / digest
    if (venv / "done").exists():
        return venv / "bin" / "python"
    say(f"building a venv with {requirements}, to read the app's settings (once; --python names one that you have)")
    # The venv is built aside and renamed: two processes may build it at once, and one may be cut off.
    unfinished = venv.with_suffix(f".{os.getpid()}")
    pinned = unfinished.with_suffix(".txt")
    try:
        _build(unfinished, pinned, merged)
        (unfinished / "done").touch()
        with suppress(OSError):  # another process was first
            unfinished.rename(venv)
    finally:
        pinned.unlink(missing_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
    return venv / "bin" / "python"


def _build(venv: Path, pins: Path, requirements: str) -> None:
    try:
        pins.parent.mkdir(parents=True, exist_ok=True)
        pins.write_text(requirements)
    except OSError as error:
        raise VenvError(f"{pins.parent}: {error.strerror}; XDG_CACHE_HOME says where to keep what is built") from None
    uv = str(Path(sys.executable).parent / "uv")
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)],
        [uv, "pip", "sync", "--quiet", "--python", str(venv / "bin" / "python"), str(pins)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_TIMEOUT, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise VenvError(f"no venv for the app: {error}") from None
        if done.returncode != 0:
            cause = re.split(r"cause: |Caused by: ", " ".join(done.stderr.split()))[-1]  # uv breaks long lines
            if "(os error " in cause:  # a full disk is the last cause of several
                raise VenvError(f"no venv for the app: {cause}; XDG_CACHE_HOME says where to keep what is built")
            raise VenvError(
                f"no venv for the app: {done.stderr.strip()}\nname one that you have with --python, or leave it: --no-app"
            )


def cache_folder() -> Path:
    """Where venvs, and links to this checkout, stay between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "celery-fleet" / "apps"
