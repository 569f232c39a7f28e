"""The settings of the whole fleet: plain names in `group_data/all.py`."""

from __future__ import annotations

from fleet.spec.fields import Model, setting
from fleet.spec.nvidia import Nvidia
from fleet.spec.reliability import RELIABILITY, TRANSPORT, Reliability
from fleet.spec.sizes import SizeOrShare
from fleet.spec.sources import CELERY, MEASURED, OURS
from fleet.spec.values import Address, DottedName, Line, Reason, Variable, VisibilityTimeout, Whole

SYSTEM_SHARE, SYSTEM_LEAST = "10%", 192 << 20
"""What a machine's own system gets of its memory, in bytes at least."""


class Settings(Model):
    """What holds for the whole fleet: plain names in `group_data/all.py`."""

    celery_app: DottedName = setting("What follows `celery -A`, e.g. shop.app.", why="The app's own.", source=OURS)
    app_source: Line = setting("Folder on the control machine that holds the app's code.", why="The app's own.", source=OURS)
    app_requirements: Line = setting(
        "Pinned requirements, relative to app_source.",
        why="The same release has to be the same on every machine.",
        source=OURS,
        default="requirements.txt",
    )
    app_exclude: list[str] = setting(
        "Names in app_source (shell patterns) that are not shipped.",
        why="Caches would make a new release of every run, and secrets have no place in one.",
        source=OURS,
        default=[".git", ".venv", "__pycache__", "*.pyc", ".*_cache", "node_modules", ".env*", "secrets", ".lab"],
    )
    environment: dict[Variable, Line] = setting(
        "Environment of every worker. No secrets here.", why="They would be in git.", source=OURS, default={}
    )
    secrets_file: Line = setting(
        "NAME=value lines on the control machine; `fleet secrets FILE` makes one.",
        why="Passwords never leave the control machine for git.",
        source=OURS,
        default="secrets/prod.env",
    )
    machine_reserve: SizeOrShare | None = setting(
        "Memory that fleet.slice leaves to the system.",
        why=f"SSH and the journal have to survive a worker that eats memory. auto is {SYSTEM_SHARE}, and at least "
        f"{SYSTEM_LEAST >> 20}M: Debian 12 with SSH and its journal, and the kernel, hold 160 MB and more.",
        source=f"{MEASURED}: a tenth of 1 GB was too little, and the kernel looked for its victim in the whole machine",
        default=None,
        unit="bytes, or a share of the machine's memory",
        shown="auto",
    )
    releases_kept: Whole = setting(
        "Releases kept on each machine.",
        why="To go back to.",
        source=OURS,
        unit="releases",
        default=5,
        gt=0,
    )
    visibility_timeout: VisibilityTimeout = setting(
        'After so long Redis hands an unacknowledged task to another worker. "app" leaves it to the app.',
        why="Shorter than a worker may hold a task, and it runs twice; longer, and what a dead worker held waits. auto is the "
        "longest that any role may hold one, and a minute. Workers get it in all three places that Celery wants it in.",
        source=f"{CELERY}: Redis, Visibility timeout; 5 s with a multiplier of 4 ran 6 of 10 tasks twice ({MEASURED})",
        default="auto",
        unit="seconds",
    )
    left_to_app: list[Reliability] = setting(
        f"Settings of Celery that workers have as the app sets them, of: {', '.join({**RELIABILITY, **TRANSPORT})}.",
        why="Every other one is set by the fleet, whatever the app says: without them a killed worker loses tasks.",
        source=MEASURED,
        default=[],
    )
    at_most_once: list[Line] = setting(
        'Tasks (names, or patterns such as "shop.payments.*") that are acknowledged as they say, and not after they ran.',
        why="A task that must never run twice must be allowed to be lost instead: it cannot have both.",
        source=f"{CELERY}: Tasks, acks_late",
        default=[],
    )
    database_max_connections: Whole | None = setting(
        "Connections that the app's database accepts.",
        why="Given, `fleet lint` counts processes × database_connections against it.",
        source=OURS,
        unit="connections",
        default=None,
        gt=0,
    )
    lint_ignore: dict[str, Reason] = setting(
        'Rules of `fleet lint` to be silent about, each with the reason, e.g. {"single-consumer": "one device is all we have"}.',
        why="The reason is printed with every run.",
        source=OURS,
        default={},
    )
    gpus: Whole | None = setting(
        "Devices that a machine should have.",
        why="None: they are counted, and one that has died is a worker less without a word; a deploy refuses a machine that has "
        "another number. Where nvidia.driver is none it is what is believed.",
        source=OURS,
        unit="devices",
        default=None,
        ge=0,
    )
    nvidia: Nvidia = setting(
        "The machine's NVIDIA devices and their driver; see below.",
        why="It is the machine's, whatever roles use it.",
        source=OURS,
        default=Nvidia(),
        shown="see below",
    )
    lan_address: Address | None = setting(
        "A host's address on the LAN. The broker needs one: workers connect to it.",
        why="A machine may have several addresses, and Redis must not listen on all.",
        source=OURS,
        default=None,
    )
