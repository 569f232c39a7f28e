"""The settings of the whole fleet: plain names in `group_data/all.py`."""

from __future__ import annotations

from fleet.spec.fields import Model, setting
from fleet.spec.hooks import Hooks
from fleet.spec.nvidia import Nvidia
from fleet.spec.reliability import Reliability
from fleet.spec.sizes import SizeOrShare
from fleet.spec.sources import CELERY, MEASURED, OURS
from fleet.spec.values import (
    Address,
    DottedName,
    Lease,
    Line,
    Objective,
    Reason,
    ResultBackend,
    Variable,
    VisibilityTimeout,
    Whole,
)

SYSTEM_SHARE, SYSTEM_LEAST = "10%", 192 << 20
"""Automatic `machine_reserve`: a share of the machine's memory, and the least, in bytes."""


class Settings(Model):
    """Settings of the whole fleet: plain names in `group_data/all.py`."""

    celery_app: DottedName = setting(
        "The app, as `celery -A` takes it, e.g. shop.app.", why="Workers import the app by this name.", source=OURS
    )
    app_source: Line = setting(
        "Folder on the control machine that holds the app's code.",
        why="The deploy makes the release from this folder.",
        source=OURS,
    )
    app_requirements: Line = setting(
        "File with the app's pinned requirements, relative to app_source: requirements.txt, uv.lock, poetry.lock or pylock.toml.",
        why="With pins, a release is the same on every machine.",
        source=OURS,
        default="requirements.txt",
    )
    app_exclude: list[str] = setting(
        "Names in app_source that are not shipped; shell patterns.",
        why="Caches would make every run a new release, and secrets do not belong in a release.",
        source=OURS,
        default=[".git", ".venv", "__pycache__", "*.pyc", ".*_cache", "node_modules", ".env*", "secrets", ".lab"],
    )
    environment: dict[Variable, Line] = setting(
        "Environment variables of every worker. Do not put secrets here.", why="Group data is in git.", source=OURS, default={}
    )
    secrets_file: Line = setting(
        "File on the control machine with NAME=value lines. `fleet secrets FILE` creates it.",
        why="Passwords stay out of git.",
        source=OURS,
        default="secrets/prod.env",
    )
    machine_reserve: SizeOrShare | None = setting(
        "Memory that fleet.slice leaves to the system.",
        why="SSH and the journal have to survive a worker that takes too much memory. Debian 12 with SSH, its journal and "
        "the kernel takes 160 MB and more.",
        source=f"{MEASURED}: a tenth of 1 GB was too little, and the kernel chose its victim from the whole machine",
        default=None,
        unit="bytes, or a share of the machine's memory",
        shown=f"`None` ({SYSTEM_SHARE}, at least {SYSTEM_LEAST >> 20}M)",
    )
    releases_kept: Whole = setting(
        "Releases that stay on each machine.",
        why="A rollback goes to one of them.",
        source=OURS,
        unit="releases",
        default=5,
        gt=0,
    )
    lease: Lease = setting(
        "Seconds after which the tasks of a worker that gives no sign of life go to other workers, 15 to 3600. None: by the "
        "visibility timeout alone.",
        why="Workers renew their lease every sixth of it. The tasks of a dead machine are back within a minute, however long "
        "tasks run or wait for their ETA. A shorter lease gives away tasks that run, in a stall, a slow failover or a paused "
        "virtual machine.",
        source=f"{MEASURED}: of 6 tasks longer than the visibility timeout, 4 or 5 ran twice without a lease, and none with it",
        default=60,
        unit="seconds",
    )
    visibility_timeout: VisibilityTimeout = setting(
        "Seconds after which a task comes back that is not acknowledged, if its consumer has no lease: workers without one, and "
        'consumers that are not the fleet\'s. "app" leaves the setting to the app.',
        why="If it is too short for the time that a consumer may hold a task, the task runs twice. If it is longer, the tasks "
        "of a dead consumer wait longer. auto is the longest time that any role may hold a task, plus a minute; with a lease, "
        "at least Celery's own 3600. Workers get it in all three places where Celery reads it.",
        source=f"{CELERY}: Redis, Visibility timeout; 5 s with a multiplier of 4 ran 6 of 10 tasks twice ({MEASURED})",
        default="auto",
        unit="seconds",
    )
    result_backend: ResultBackend = setting(
        'Where results go: "broker", "app" (as the app sets it), "none", or the name of a secret with a URL: "@RESULT_URL".',
        why="Results in the broker need no other server: in a database of their own if it is our Redis, else in the same.",
        source=OURS,
        default="broker",
    )
    records_host: Line | None = setting(
        "The host that keeps the fleet's lock and history.",
        why="Every run needs it. Our own broker's host is one that every run needs in any case.",
        source=OURS,
        default=None,
        shown="`None` (the host of the broker; the first of the inventory if the broker is not ours)",
    )
    left_to_app: list[Reliability] = setting(
        "Celery settings that workers take from the app. The fleet sets those that you do not name.",
        why="The fleet sets them whatever the app says, because without them a killed worker loses tasks.",
        source=MEASURED,
        default=[],
    )
    at_most_once: list[Line] = setting(
        "Tasks that keep their own acks_late setting instead of being acknowledged after they ran: names, or patterns "
        'such as "shop.payments.*".',
        why="A task that must never run twice has to be allowed to be lost. A task cannot be safe from both.",
        source=f"{CELERY}: Tasks, acks_late",
        default=[],
    )
    database_max_connections: Whole | None = setting(
        "Connections that the app's database accepts.",
        why="If it is set, `fleet lint` checks processes × database_connections against it.",
        source=OURS,
        unit="connections",
        default=None,
        gt=0,
    )
    slo: dict[Line, Objective] = setting(
        'Seconds that a task may wait in a queue, by queue, e.g. {"default": 10, "reports": 600}.',
        why="How long tasks wait is what users feel. Alerts, `fleet top` and `fleet report` compare with it.",
        source=OURS,
        unit="seconds",
        default={},
    )
    hooks: Hooks = setting(
        "Your own commands around a rollout; see below.",
        why="A new release may need its migrations first, and somebody may want to know that a deploy failed.",
        source=OURS,
        default=Hooks(),
        shown="see below",
    )
    lint_ignore: dict[str, Reason] = setting(
        'Rules of `fleet lint` to silence, each with the reason, e.g. {"single-consumer": "one device is all we have"}.',
        why="The first run, and each with -v, prints the reason.",
        source=OURS,
        default={},
    )
    gpus: Whole | None = setting(
        "Devices that a machine should have.",
        why="A deploy refuses a machine with another number. Without this setting devices are counted, and a failed device "
        "is one worker less without any message. If nvidia.driver is none, the deploy believes this number.",
        source=OURS,
        shown="`None` (as counted)",
        unit="devices",
        default=None,
        ge=0,
    )
    nvidia: Nvidia = setting(
        "The machine's NVIDIA devices and their driver; see below.",
        why="Devices belong to the machine, whatever roles use them.",
        source=OURS,
        default=Nvidia(),
        shown="see below",
    )
    lan_address: Address | None = setting(
        "A host's address on the LAN. The broker's host needs one: workers connect to it.",
        why="A machine may have several addresses, and Redis must not listen on all of them.",
        source=OURS,
        default=None,
    )
