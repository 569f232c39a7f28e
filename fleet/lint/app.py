"""The app as it describes itself (`fleet_node.app.check`), and a way to ask it on this machine, in a venv of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fleet.errors import FleetError
from fleet.spec.pools import GREEN
from fleet.spec.requirements import merge
from fleet_node.protocol import APP_MARK

ROOT = Path(__file__).parents[2]
_BUILD_PATIENCE, _LOAD_PATIENCE, _QUIET = 900, 60, 5  # seconds


class AppError(FleetError):
    """The app could not be asked. str() is what the user reads."""


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class AppTask(_Said):
    """A task of the app. queues: where its router sends it, none where that failed (route_error says how). Seconds."""

    name: str
    queues: tuple[str, ...] = ()
    time_limit: float | None = None
    soft_time_limit: float | None = None
    acks_late: bool = False
    reject_on_worker_lost: bool = False
    retry_delay: float | None = None
    route_error: str | None = None


class App(_Said):
    """What the app says of itself. settings: those of interest here that differ from Celery's own. queues: declared ones."""

    app: str
    celery: str
    kombu: str
    tasks: tuple[AppTask, ...] = ()
    queues: tuple[str, ...] = ()
    default_queue: str = "celery"
    settings: dict[str, Any] = {}
    broker: str | None = None


def parse(output: str) -> App:
    """The app from what the check printed. Raises AppError where it is not in it."""
    lines = [line.removeprefix(APP_MARK) for line in output.splitlines() if line.startswith(APP_MARK)]
    try:
        return App.model_validate(json.loads(lines[-1]))
    except (IndexError, json.JSONDecodeError, ValidationError):
        raise AppError(f"the app's description is not readable: {output.strip()[-200:]!r}") from None


def load(
    name: str, source: Path, python: Path, environment: Mapping[str, str], say: Callable[[str], None] = lambda _: None
) -> App:
    """Import the app with this Python and let it describe itself. Raises AppError with the traceback's last line.

    environment: what its workers get besides. Nothing else of ours reaches it but PATH and HOME.
    """
    node = _node()
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    try:
        process = subprocess.Popen(
            [str(python), "-m", "fleet_node.app.check", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**inherited, "PYTHONPATH": f"{source.resolve()}:{node}"},
            cwd=node,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise AppError(f"{python}: no such Python ({error.strerror})") from None
    with process:
        try:
            out, err = _communicate(process, "".join(f"{key}={value}\n" for key, value in environment.items()), name, say)
        finally:
            process.kill()  # Ctrl-C, or an app that hangs: nothing stays behind
    if process.returncode != 0:
        last = (err.strip().splitlines() or [f"celery_app {name} does not import"])[-1]
        lacks_celery = "No module named 'celery'" in last
        raise AppError(last + (f" ({python} has none: is celery in the app's requirements?)" if lacks_celery else ""))
    return parse(out)


def _node() -> Path:
    """A folder for PYTHONPATH in which fleet_node is, and nothing else of ours; one a checkout."""
    node = _cache() / f"node-{sha256(str(ROOT).encode()).hexdigest()[:8]}"
    try:
        node.mkdir(parents=True, exist_ok=True)
        if not (node / "fleet_node").exists():
            fresh = node / f"fleet_node.{os.getpid()}"
            fresh.symlink_to(ROOT / "fleet_node")
            fresh.replace(node / "fleet_node")
    except OSError as error:
        raise AppError(f"{node}: {error.strerror}; XDG_CACHE_HOME says where to keep what is built") from None
    return node


def _communicate(process: subprocess.Popen[str], stdin: str, name: str, say: Callable[[str], None]) -> tuple[str, str]:
    try:
        return process.communicate(stdin, timeout=_QUIET)
    except subprocess.TimeoutExpired:
        say(f"celery_app {name} is being imported, for {_QUIET} s so far (at most {_LOAD_PATIENCE})")
    try:
        return process.communicate(timeout=_LOAD_PATIENCE - _QUIET)
    except subprocess.TimeoutExpired:
        raise AppError(f"celery_app {name} was not imported in {_LOAD_PATIENCE} s: what does it wait for?") from None


def venv(requirements: Path, pools: tuple[str, ...], say: Callable[[str], None]) -> Path:
    """The Python of a venv with the app's pinned requirements, built where it is not there yet. Raises AppError."""
    more = [(ROOT / "requirements" / f"{pool}.txt").read_text() for pool in GREEN if pool in pools]
    wanted = merge(requirements.read_text(), more)
    digest = sha256(f"{sys.version_info[:2]}\0{wanted}".encode()).hexdigest()[:16]
    place = _cache() / digest
    if (place / "done").exists():
        return place / "bin" / "python"
    say(f"building a venv with {requirements}, to read the app's settings (once; --python names one that you have)")
    uv = Path(sys.executable).parent / "uv"
    # Built aside and renamed: two may build it at once, and one may be cut off.
    aside = place.with_suffix(f".{os.getpid()}")
    listed = aside.with_suffix(".txt")
    try:
        _build(uv, aside, listed, wanted)
        (aside / "done").touch()
        with suppress(OSError):  # somebody else was first
            aside.rename(place)
    finally:
        listed.unlink(missing_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
    return place / "bin" / "python"


def _build(uv: Path, aside: Path, listed: Path, wanted: str) -> None:
    try:
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text(wanted)
    except OSError as error:
        raise AppError(f"{listed.parent}: {error.strerror}; XDG_CACHE_HOME says where to keep what is built") from None
    for command in (
        [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(aside)],
        [str(uv), "pip", "sync", "--quiet", "--python", str(aside / "bin" / "python"), str(listed)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_PATIENCE, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise AppError(f"no venv for the app: {error}") from None
        if done.returncode != 0:
            raise AppError(
                f"no venv for the app: {done.stderr.strip()}\nname one that you have with --python, or leave it: --no-app"
            )


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "celery-fleet" / "apps"
