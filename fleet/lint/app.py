"""The app's description of itself (by `fleet_node.app.check`), and how to get it on this machine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fleet.errors import FleetError
from fleet.lint.venv import ROOT, cache_folder
from fleet_node.protocol import APP_MARK

DELIVERY = "delivery"
"""The patch that gives workers their lease, by its name in the register."""

_LOAD_TIMEOUT, _QUIET = 60, 5  # seconds: of loading an app, and of loading without a message


class AppError(FleetError):
    """The app could not be loaded. str() is what the user reads."""


class _Description(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class AppTask(_Description):
    """A task of the app. Limits and delays are in seconds.

    queues: where the app's router sends the task; none if the router failed. route_error: how it failed.
    """

    name: str
    queues: tuple[str, ...] = ()
    time_limit: float | None = None
    soft_time_limit: float | None = None
    acks_late: bool = False
    reject_on_worker_lost: bool = False
    retry_delay: float | None = None
    route_error: str | None = None


class AppPatch(_Description):
    """A defect of the app's Celery or kombu. mended: whether the fleet's workers mend it. pools: () for all. brokers: of
    which kinds ("redis", "amqp"); () for all."""

    name: str
    mends: str
    mended: bool
    advice: str = ""
    pools: tuple[str, ...] = ()
    brokers: tuple[str, ...] = ()


class AppQueue(_Description):
    """How the app declares a queue: see `fleet_node.protocol.QueueDescription`."""

    name: str
    kind: str = "classic"
    exchange: str = "direct"
    exchange_name: str = ""
    key: str = ""
    durable: bool = True
    priorities: bool = False


class AppEntry(_Description):
    """An entry of the app's schedule. known: whether the app has its task. queues, route_error: as of AppTask."""

    name: str
    task: str
    known: bool = True
    queues: tuple[str, ...] = ()
    route_error: str | None = None


class AppScheduler(_Description):
    """The scheduler of beat. is_celerys: whether its entries are those of beat_schedule. error: why it does not import. has_lock:
    whether the broker can have the lock of a leader; None if that is not known."""

    name: str
    is_celerys: bool = True
    error: str = ""
    has_lock: bool | None = None


class App(_Description):
    """An app's description of itself.

    app: its name, as `celery -A` takes it. celery, kombu, amqp: their versions; empty if not known. queues: those that the app
    declares. declared: how. settings: those
    that rules look at and that differ from Celery's defaults. broker: the address that the app sets, without secrets.
    patches: the defects of these versions. schedule, entries: what celery beat is to send. scheduler: what sends it. untried: the
    versions with which the fleet's promises are not tested, in words.
    """

    app: str
    celery: str
    kombu: str
    tasks: tuple[AppTask, ...] = ()
    amqp: str = ""
    queues: tuple[str, ...] = ()
    declared: tuple[AppQueue, ...] = ()
    default_queue: str = "celery"
    settings: dict[str, Any] = {}
    broker: str | None = None
    patches: tuple[AppPatch, ...] = ()
    schedule: tuple[str, ...] = ()
    entries: tuple[AppEntry, ...] = ()
    scheduler: AppScheduler | None = None
    untried: tuple[str, ...] = ()

    @property
    def may_have_lease(self) -> bool:
        """Whether the fleet's workers can have a lease with the app's versions: the patch for it supports them."""
        return any(patch.name == DELIVERY and patch.mended for patch in self.patches)


def parse(output: str) -> App:
    """The app's description in the output of the check. Raises AppError if it is missing or not readable."""
    lines = [line.removeprefix(APP_MARK) for line in output.splitlines() if line.startswith(APP_MARK)]
    try:
        return App.model_validate(json.loads(lines[-1]))
    except (IndexError, json.JSONDecodeError, ValidationError):
        raise AppError(f"the app's description is not readable: {output.strip()[-200:]!r}") from None


def load(
    name: str, source: Path, python: Path, environment: Mapping[str, str], say: Callable[[str], None] = lambda _: None
) -> App:
    """Import the app with the interpreter `python`, and return its description of itself.

    name: as `celery -A` takes it. source: the folder of its code. environment: of its workers; of this process's own, the app
    gets only PATH, HOME and LANG. say: takes a message if loading takes long. Raises AppError with the last line of the app's
    traceback.
    """
    node = _node_folder()
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    try:
        process = subprocess.Popen(
            [str(python.absolute()), "-m", "fleet_node.app.check", name],
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
            process.kill()  # after Ctrl-C, or if the app hangs
    if process.returncode != 0:
        last_line = (err.strip().splitlines() or [f"celery_app {name} does not import"])[-1]
        lacks_celery = "No module named 'celery'" in last_line
        raise AppError(last_line + (f" ({python} has none: is celery in the app's requirements?)" if lacks_celery else ""))
    return parse(out)


def _node_folder() -> Path:
    """A folder for PYTHONPATH that holds fleet_node and nothing else of this project; one for each checkout."""
    node = cache_folder() / f"node-{sha256(str(ROOT).encode()).hexdigest()[:8]}"
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
        say(f"celery_app {name} is being imported, for {_QUIET} s so far (at most {_LOAD_TIMEOUT})")
    try:
        return process.communicate(timeout=_LOAD_TIMEOUT - _QUIET)
    except subprocess.TimeoutExpired:
        raise AppError(f"celery_app {name} was not imported in {_LOAD_TIMEOUT} s: what does it wait for?") from None
