"""The types of settings' values. A validator's message says what to write."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, StringConstraints

from fleet.spec.fields import ShownType

_SET_BY_DEPLOY = (
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "FLEET_BEAT_SCHEDULER",
    "FLEET_CELERY",
    "FLEET_GPU",
    "FLEET_GPU_STATE",
    "FLEET_LOG",
    "FLEET_LONGEST_STOP",
    "FLEET_MAX_DELIVERIES",
    "FLEET_POD",
    "FLEET_RELEASE",
    "FLEET_REVISION",
    "FLEET_STALL_TIMEOUT",
    "HOME",
    "NOTIFY_SOCKET",
    "PYTHONPATH",
    "RUNTIME_DIRECTORY",
    "SPT_NOENV",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
)
"""Environment variables of a worker that the deploy sets. Users must not set them."""

SHORTEST_LEASE, LONGEST_LEASE = 15, 3600
"""Bounds of the lease, in seconds."""

_PER_CORE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)x", re.ASCII)
_PERCENT = re.compile(r"(\d{1,5})%", re.ASCII)


def _check_variable(name: str) -> str:
    if name in _SET_BY_DEPLOY:
        raise ValueError(f"{name} is set by the deploy itself; leave it out")
    return name


def _check_distinct(values: list[str]) -> list[str]:
    if doubled := [value for value, number in Counter(values).items() if number > 1]:
        raise ValueError(f"write {', '.join(doubled)} once")
    return values


def _check_list(value: object) -> object:
    """Sets are refused: their order differs in every run, and would restart the workers each time."""
    if not isinstance(value, list | tuple):
        raise ValueError('write a list such as ["default"]')
    return value


def _check_address(text: str) -> str:
    try:
        if "%" in text:
            raise ValueError
        return str(ip_address(text))
    except ValueError:
        raise ValueError('write an IP address such as "10.0.0.10"') from None


def _number(value: object) -> int | None:
    """A whole number above 0, also as text (pyinfra's --data passes text); None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _check_whole(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("write a whole number")
    return value


def _check_concurrency(value: object) -> object:
    if number := _number(value):
        return number
    per_core = _PER_CORE.fullmatch(value) if isinstance(value, str) else None
    if value == "auto" or (per_core and float(per_core[1]) > 0):
        return value
    raise ValueError('write a number such as 8, a number a core such as "4x", or "auto"')


def _check_instances(value: object) -> object:
    if value == "auto" or _number(value):
        return _number(value) or value
    raise ValueError('write a number such as 2, or "auto"')


def _check_prefetch(value: object) -> object:
    if value == "disabled" or _number(value):
        return _number(value) or value
    raise ValueError('write how many tasks a slot reserves, such as 1 or 4, or "disabled"')


def _check_quota(value: object) -> object:
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match and int(match[1]) > 0:
        return value
    raise ValueError('write a share of one core\'s time such as "150%"')


def _check_results(value: str) -> str:
    if value in ("broker", "app", "none") or (value.startswith("@") and value[1:].isidentifier()):
        return value
    raise ValueError('write "broker", "app", "none", or the name of a secret such as "@RESULT_URL"')


def _check_unavailable(value: object) -> object:
    share = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if _number(value) or (share and 1 <= int(share[1]) <= 100):
        return _number(value) or value
    raise ValueError('write a number such as 2, or a share from "1%" to "100%"')


def _check_visibility(value: object) -> object:
    if value in ("auto", "app") or _number(value):
        return _number(value) or value
    raise ValueError('write seconds such as 3600, "auto", or "app" to leave it to the app')


def _check_lease(value: object) -> object:
    seconds = _number(value)
    if value is None or (seconds and SHORTEST_LEASE <= seconds <= LONGEST_LEASE):
        return seconds
    if seconds and seconds < SHORTEST_LEASE:
        raise ValueError(
            f"write {SHORTEST_LEASE} or more: in a stall, a slow failover of the broker or a pause of a virtual machine, tasks "
            "that still run would be given to other workers"
        )
    if seconds:
        raise ValueError(
            f"write {LONGEST_LEASE} or less: the tasks of a dead machine would wait for longer than with Celery's own visibility "
            "timeout; None goes by the visibility timeout alone"
        )
    raise ValueError(f"write seconds from {SHORTEST_LEASE} to {LONGEST_LEASE}, or None for no lease")


def _check_fingerprint(value: object) -> object:
    digits = re.sub(r"[\s:]", "", value).upper() if isinstance(value, str) else ""
    if re.fullmatch(r"[0-9A-F]{40}", digits):
        return digits
    raise ValueError("write the key's whole fingerprint, 40 hexadecimal digits")


def _check_cores(value: object) -> object:
    text = str(value) if not isinstance(value, bool) else ""
    if re.fullmatch(r"[1-9]\d{0,3}|[1-9]\d{0,6}m|\d{1,3}\.\d{1,3}", text, re.ASCII) and text.strip("0.m"):
        return text
    raise ValueError('write cores such as 2, "0.5" or "500m"')


def _check_destination(text: str) -> str:
    network, _, port = text.rpartition(":")
    try:
        if not 0 < int(port) < 65536:
            raise ValueError
        return f"{ip_network(network.strip('[]'))}:{int(port)}"
    except ValueError:
        raise ValueError(f'{text}: write a network with a port, such as "10.0.0.0/8:5432"') from None


def _check_reason(text: str) -> str:
    if not text.strip():
        raise ValueError("write the reason for which it is silenced")
    return text


def factor_per_core(concurrency: str) -> float:
    """The factor of a concurrency that is written for each core: "4x" → 4.0."""
    return float(concurrency.removesuffix("x"))


def cores_of_quota(quota: str) -> int:
    """Whole cores of a CPU quota, rounded up, at least 1: "150%" → 2."""
    return max(1, -(-int(quota.removesuffix("%")) // 100))


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]*$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")]
Command = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*\S[^\x00-\x08\x0a-\x1f\x7f]*$")]
SchedulerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*(:\w+)?$")]
DottedName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.\w+)*(:\w+)?$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_check_variable)]
Address = Annotated[str, AfterValidator(_check_address)]
DriverSource = Literal["debian", "existing", "none"]
Cuda = Annotated[str, StringConstraints(pattern=r"^\d{1,2}\.\d{1,2}$")]
Fingerprint = Annotated[str, BeforeValidator(_check_fingerprint)]
Package = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
Concurrency = Annotated[int | str, BeforeValidator(_check_concurrency), ShownType('number, "4x" or "auto"')]
Instances = Annotated[int | Literal["auto"], BeforeValidator(_check_instances), ShownType('number or "auto"')]
Prefetch = Annotated[int | Literal["disabled"], BeforeValidator(_check_prefetch), ShownType('number or "disabled"')]
Unavailable = Annotated[int | str, BeforeValidator(_check_unavailable), ShownType('number or "25%"')]
Quota = Annotated[str, BeforeValidator(_check_quota)]
VisibilityTimeout = Annotated[
    int | Literal["auto", "app"], BeforeValidator(_check_visibility), ShownType('number, "auto" or "app"')
]
ResultBackend = Annotated[str, AfterValidator(_check_results), ShownType('"broker", "app", "none" or "@NAME"')]
Lease = Annotated[int | None, BeforeValidator(_check_lease)]
Whole = Annotated[int, BeforeValidator(_check_whole)]
Seconds = Annotated[PositiveInt, BeforeValidator(_check_whole), Field(le=10**8)]
Objective = Annotated[float, Field(gt=0, le=10**7)]
Names = Annotated[list[Name], BeforeValidator(_check_list), AfterValidator(_check_distinct)]
Variables = Annotated[list[Variable], BeforeValidator(_check_list), AfterValidator(_check_distinct)]
Reason = Annotated[str, AfterValidator(_check_reason)]
Cores = Annotated[str, BeforeValidator(_check_cores), ShownType('number or "500m"')]
Share = Annotated[float, Field(gt=0, le=100)]
LabelKey = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$")]
DnsName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
Destinations = Annotated[list[Annotated[str, AfterValidator(_check_destination)]], BeforeValidator(_check_list)]
