"""Beat's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fleet.spec.fields import Model, setting
from fleet.spec.sizes import Size
from fleet.spec.sources import CELERY, OURS, SYSTEMD
from fleet.spec.values import Line, SchedulerName, Variable, Variables, Whole


class Beat(Model):
    """Celery's beat: `beat` in `group_data/beat.py`."""

    scheduler: SchedulerName | None = setting(
        'The scheduler, as --scheduler takes it: "django_celery_beat.schedulers:DatabaseScheduler", "redbeat.RedBeatScheduler".',
        why="None takes the app's own beat_scheduler, which is Celery's if the app sets none: its entries are in beat_schedule.",
        source=f"{CELERY}: Periodic Tasks",
        default=None,
        shown="`None` (the app's own)",
    )
    takeover: Annotated[Whole, Field(ge=5, le=25)] = setting(
        "Seconds after which another beat leads if the leader gives no sign of life.",
        why="A leader whose machine pauses for longer loses its place. Whoever takes over looks once a second.",
        source=OURS,
        unit="seconds",
        default=15,
    )
    max_interval: Annotated[Whole, Field(ge=1, le=3600)] | None = setting(
        "Seconds between two looks at the schedule, at most.",
        why="A scheduler whose entries are in a database finds a new entry as it looks again.",
        source=f"{CELERY}: Configuration, beat_max_loop_interval",
        unit="seconds",
        default=None,
        shown="`None` (the scheduler's own)",
    )
    memory_max: Size = setting(
        "Memory above which the kernel ends beat (MemoryMax). It is not the workers' of the same machine.",
        why="Beat holds the app's code and its schedule: 45 MB with an empty app. It needs no more as it runs.",
        source=SYSTEMD,
        unit="bytes",
        default="512M",
        validate_default=True,
        shown='`"512M"`',
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "Celery's --loglevel.", why="INFO writes a line for each task that is sent.", source=f"{CELERY}: Workers", default="INFO"
    )
    log_format: Literal["text", "json", "app"] = setting(
        "As of a worker role.",
        why="One event is one entry of the journal.",
        source=OURS,
        default="text",
    )
    environment: dict[Variable, Line] = setting(
        "Environment variables of beat, besides those of every worker. Do not put secrets here.",
        why="Group data is in git, and every user of the machine can read these variables.",
        source=OURS,
        default={},
    )
    secrets: Variables = setting(
        "Names in the secrets file whose values beat gets as environment variables.",
        why="A schedule in a database needs the database's password.",
        source=OURS,
        default=[],
    )
