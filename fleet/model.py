"""The settings a fleet has: every name, type, unit and default, with the reason beside it."""

from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, StringConstraints

from fleet.units import Size, SizeOrShare

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")]
DottedName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.\w+)*(:\w+)?$")]
RESERVED = ("FLEET_RELEASE", "FLEET_REVISION", "HOME", "NOTIFY_SOCKET", "PYTHONPATH", "SPT_NOENV", "WATCHDOG_USEC")


def _is_ours_to_set(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"{name} is set by the deploy itself; leave it out")
    return name


def _is_address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError('write an IP address such as "10.0.0.10"') from None


Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_is_ours_to_set)]
Address = Annotated[str, AfterValidator(_is_address)]
Pool = Literal["prefork", "gevent", "eventlet", "threads", "solo"]

STOP_MARGIN = 60
"""Seconds between a task's hard limit and systemd's SIGKILL: time to acknowledge, flush and close."""


class Model(BaseModel):
    """Unknown names are errors: a misspelt setting that is ignored is found in production."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Worker(Model):
    """One worker role: `<group>_worker` in `group_data/<group>.py`."""

    queues: list[Name] = Field(min_length=1, description="Queues to consume, e.g. default, priority.")
    pool: Pool = Field(
        "prefork", description="gevent, eventlet or threads for I/O; prefork for CPU; solo for one task at a time."
    )
    concurrency: PositiveInt = Field(description="Tasks at once in one instance (-c).")
    instances: PositiveInt = Field(1, description="Worker processes of this role on each machine.")
    prefetch_multiplier: PositiveInt = Field(
        1, description="Tasks reserved ahead, a slot. More hoards tasks that another worker could run."
    )
    max_tasks_per_child: PositiveInt | None = Field(
        None, description="Recycle a prefork child after so many tasks. Under 1000 costs throughput (100: 0.41 x)."
    )
    max_memory_per_child: Size | None = Field(
        None, description="Recycle a prefork child whose peak RSS is above, after its task."
    )
    start_method: Literal["fork", "spawn"] = Field("fork", description="How prefork makes children; spawn for CUDA.")
    soft_time_limit: PositiveInt | None = Field(
        None, description="Seconds until SoftTimeLimitExceeded is raised in the task (prefork only)."
    )
    time_limit: PositiveInt = Field(
        600,
        description=f"Seconds a task may take (threads and solo do not enforce it); a stop waits for that + {STOP_MARGIN}.",
    )
    memory_high: Size | None = Field(None, description="Above it the kernel slows the instance down (MemoryHigh).")
    memory_max: Size | None = Field(None, description="Above it the kernel kills in the instance (MemoryMax).")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Celery's --loglevel.")
    environment: dict[Variable, Line] = Field({}, description="Environment of this role's workers. No secrets here.")
    secrets: list[Variable] = Field([], description="Names in the secrets file that this role's workers get as environment.")

    @property
    def stop_timeout(self) -> int:
        """Seconds that a stop may take before systemd kills."""
        return self.time_limit + STOP_MARGIN


class Broker(Model):
    """The Redis broker: `broker` in `group_data/broker.py`."""

    port: Annotated[int, Field(ge=1, le=65535)] = Field(6379, description="TCP port on the LAN and loopback addresses.")
    maxmemory: SizeOrShare = Field(
        "40%", description="Redis refuses writes above it. An AOF rewrite can need as much again, so stay under half."
    )
    memory_max: SizeOrShare = Field("85%", description="MemoryMax of the Redis service.")
    maxclients: PositiveInt = Field(
        10000, description="Connections; a worker takes 4 to 16, gevent with results about one a slot."
    )


class Settings(Model):
    """What holds for the whole fleet: plain names in `group_data/all.py`."""

    celery_app: DottedName = Field(description="What follows `celery -A`, e.g. shop.app.")
    app_source: str = Field(description="Folder on the control machine that holds the app's code.")
    app_requirements: str = Field("requirements.txt", description="Pinned requirements, relative to app_source.")
    app_exclude: list[str] = Field(
        [".git", ".venv", "__pycache__", "*.pyc", ".*_cache", "node_modules", ".env*", "secrets", ".lab"],
        description="Names in app_source (shell patterns) that are not shipped.",
    )
    environment: dict[Variable, Line] = Field({}, description="Environment of every worker. No secrets here.")
    secrets_file: str = Field(
        "secrets/prod.env", description="NAME=value lines on the control machine; `fleet secrets FILE` makes one."
    )
    machine_reserve: SizeOrShare = Field("10%", description="Memory that fleet.slice leaves to the system.")
    releases_kept: PositiveInt = Field(5, description="Releases kept on each machine.")
    lan_address: Address | None = Field(
        None, description="A host's address on the LAN. The broker needs one: workers connect to it."
    )
