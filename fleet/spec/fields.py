"""What settings are made of: the types that they share, and `setting()`, which takes all that there is to say of one."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, StringConstraints
from pydantic_core import PydanticUndefined

RESERVED = (
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "FLEET_CELERY",
    "FLEET_GPU",
    "FLEET_GPU_STATE",
    "FLEET_LOG",
    "FLEET_LONGEST_STOP",
    "FLEET_MAX_DELIVERIES",
    "FLEET_RELEASE",
    "FLEET_REVISION",
    "FLEET_STALL_TIMEOUT",
    "HOME",
    "NOTIFY_SOCKET",
    "PYTHONPATH",
    "SPT_NOENV",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
)
GREEN = ("gevent", "eventlet")


PER_CORE = (*GREEN, "threads", "solo")
"""Pools of one process: it is the limit for short tasks, so `auto` makes one instance a core."""


CELERY = "docs.celeryq.dev, User Guide"


MEASURED = "measured (celery 5.7.0, Redis 7.0)"


SYSTEMD = "systemd.resource-control(5)"


OURS = "this project"

_PER_CORE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)x", re.ASCII)
_PERCENT = re.compile(r"(\d{1,5})%", re.ASCII)


def _is_ours_to_set(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"{name} is set by the deploy itself; leave it out")
    return name


def _is_list(value: object) -> object:
    """A set has another order in every run, and would restart the workers with each."""
    if not isinstance(value, list | tuple):
        raise ValueError('write a list such as ["default"]')
    return value


def _is_address(text: str) -> str:
    try:
        if "%" in text:
            raise ValueError
        return str(ip_address(text))
    except ValueError:
        raise ValueError('write an IP address such as "10.0.0.10"') from None


def _number(value: object) -> int | None:
    """A whole number above 0, also as text (as pyinfra's --data has it); None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _is_whole(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("write a whole number")
    return value


def _is_concurrency(value: object) -> object:
    if number := _number(value):
        return number
    per_core = _PER_CORE.fullmatch(value) if isinstance(value, str) else None
    if value == "auto" or (per_core and float(per_core[1]) > 0):
        return value
    raise ValueError('write a number such as 8, a number a core such as "4x", or "auto"')


def _is_instances(value: object) -> object:
    if value == "auto" or _number(value):
        return _number(value) or value
    raise ValueError('write a number such as 2, or "auto"')


def _is_prefetch(value: object) -> object:
    if value == "disabled" or _number(value):
        return _number(value) or value
    raise ValueError('write how many tasks a slot reserves, such as 1 or 4, or "disabled"')


def _is_quota(value: object) -> object:
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match and int(match[1]) > 0:
        return value
    raise ValueError('write a share of one core\'s time such as "150%"')


def _is_unavailable(value: object) -> object:
    share = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if _number(value) or (share and 1 <= int(share[1]) <= 100):
        return _number(value) or value
    raise ValueError('write a number such as 2, or a share from "1%" to "100%"')


def _is_visibility(value: object) -> object:
    if value in ("auto", "app") or _number(value):
        return _number(value) or value
    raise ValueError('write seconds such as 3600, "auto", or "app" to leave it to the app')


def _is_fingerprint(value: object) -> object:
    found = re.sub(r"[\s:]", "", value).upper() if isinstance(value, str) else ""
    if re.fullmatch(r"[0-9A-F]{40}", found):
        return found
    raise ValueError("write the key's whole fingerprint, 40 hexadecimal digits")


def _is_reason(text: str) -> str:
    if not text.strip():
        raise ValueError("write the reason for which it is silenced")
    return text


def per_core(value: str) -> float:
    """How many a core: "4x" → 4.0."""
    match = _PER_CORE.fullmatch(value)
    assert match is not None  # noqa: S101 - validated
    return float(match[1])


def cores_of(quota: str) -> int:
    """Whole cores that a CPU quota amounts to, at least 1: "150%" → 2."""
    return max(1, -(-int(quota.rstrip("%")) // 100))


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")]
DottedName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.\w+)*(:\w+)?$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_is_ours_to_set)]
Address = Annotated[str, AfterValidator(_is_address)]
Pool = Literal["prefork", "gevent", "eventlet", "threads", "solo"]
Reliability = Literal[
    "task_acks_late",
    "task_reject_on_worker_lost",
    "broker_connection_retry_on_startup",
    "broker_connection_max_retries",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "health_check_interval",
    "unacked_restore_interval",
    "unacked_restore_throttle",
]
Workload = Literal["io", "cpu", "gpu"]
DriverSource = Literal["debian", "existing", "none"]
Cuda = Annotated[str, StringConstraints(pattern=r"^\d{1,2}\.\d{1,2}$")]
Fingerprint = Annotated[str, BeforeValidator(_is_fingerprint)]
Package = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
Concurrency = Annotated[int | str, BeforeValidator(_is_concurrency)]
Instances = Annotated[int | Literal["auto"], BeforeValidator(_is_instances)]
Prefetch = Annotated[int | Literal["disabled"], BeforeValidator(_is_prefetch)]
Unavailable = Annotated[int | str, BeforeValidator(_is_unavailable)]
Quota = Annotated[str, BeforeValidator(_is_quota)]
VisibilityTimeout = Annotated[int | Literal["auto", "app"], BeforeValidator(_is_visibility)]
Whole = Annotated[int, BeforeValidator(_is_whole)]
Seconds = Annotated[PositiveInt, BeforeValidator(_is_whole), Field(le=10**8)]
Names = Annotated[list[Name], BeforeValidator(_is_list)]
Variables = Annotated[list[Variable], BeforeValidator(_is_list)]
Reason = Annotated[str, AfterValidator(_is_reason)]


class Model(BaseModel):
    """Unknown names are errors: a misspelt setting that is ignored is found in production."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def setting(
    what: str, *, why: str, source: str, default: Any = PydanticUndefined, unit: str = "", shown: str = "", **constraints: Any
) -> Any:
    """A field that says of itself what `docs/settings.md` has.

    what: one sentence. why: the reason for this default, or for the setting itself. source: where that reason comes from.
    unit: of the value. shown: the default in words, where it depends on others.
    """
    more: dict[str, Any] = {"why": why, "source": source, "unit": unit, "shown": shown}
    return Field(default, description=what, json_schema_extra=more, **constraints)
