"""What a machine says of its workers' units: one shell command, and what its output means."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from fleet.plan import facts, gpu
from fleet.plan.facts import MachineFacts
from fleet.spec.urls import Endpoint
from fleet.state.paths import RUNTIME_UNITS, UNITS

PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,Result,MainPID,StatusText,MemoryCurrent,MemoryMax,NRestarts,ActiveEnterTimestampMonotonic,"
    "NeedDaemonReload,WatchdogTimestampMonotonic,ControlGroup"
)
_UNLIMITED = 1 << 63
_BUSY = re.compile(r"(\d+)/(\d+) busy")


@dataclass(frozen=True)
class Unit:
    """A unit as systemd has it. active, sub, result: systemd's words.

    process: the state letter of its main process ("T": stopped by a signal); empty if there is none. status: the line that the
    worker gives systemd every few seconds. memory, memory_max: bytes; None if unknown, or unlimited. up: seconds since it became
    active. signalled: seconds since it told systemd that it gets on; None if its unit has no watchdog. stale: whether its file
    has changed since systemd read it. revision, release: of the process that runs. oom_kills: processes of it that the kernel
    killed for memory since it started; None if unknown.
    """

    active: str
    sub: str = ""
    result: str = ""
    process: str = ""
    status: str = ""
    memory: int | None = None
    memory_max: int | None = None
    restarts: int = 0
    up: float | None = None
    signalled: float | None = None
    stale: bool = False
    revision: str | None = None
    release: str | None = None
    oom_kills: int | None = None

    @property
    def busy(self) -> int | None:
        """How many tasks it runs, by its status; None if that does not say."""
        match = _BUSY.search(self.status)
        return int(match[1]) if match else None


@dataclass(frozen=True)
class Machine:
    """A machine that answered. available: bytes of memory that are free or can be freed. load: runnable processes, on average
    over a minute. reaches_broker: whether it can connect to the broker's port; None if it was not tried. units: by name.

    pressure: "cpu", "memory" or "io" → percent of the last ten seconds in which some process waited for it; empty if the kernel
    does not say. oom_kills: processes that the kernel has killed for memory since the machine started. kubectl: of a pod, which
    counts as a machine, kubectl with its options for the cluster; empty otherwise.
    """

    hostname: str
    facts: MachineFacts
    available: int = 0
    load: float = 0.0
    reaches_broker: bool | None = None
    units: dict[str, Unit] = field(default_factory=dict)
    pressure: dict[str, float] = field(default_factory=dict)
    oom_kills: int = 0
    kubectl: str = ""


def command(broker: Endpoint, seconds: int = 2) -> str:
    """The sh command; it changes nothing. broker: as machines reach it. seconds: for connecting to it."""
    probe = " || ".join(f"(exec 3<>/dev/tcp/{address}/{port})" for address, port in broker.addresses)
    return f"""
export LC_ALL=C
{facts.SHELL}printf 'hostname\\t%s\\n' "$(uname -n)"
printf 'uptime\\t%s\\n' "$(cut -d ' ' -f 1 /proc/uptime)"
printf 'load\\t%s\\n' "$(cut -d ' ' -f 1 /proc/loadavg)"
printf 'available\\t%s\\n' "$(sed -n 's/^MemAvailable: *\\([0-9]*\\).*/\\1/p' /proc/meminfo)"
printf 'oom-kills\\t%s\\n' "$(sed -n 's/^oom_kill //p' /proc/vmstat)"
for name in cpu memory io; do
  sed -n "s/^some avg10=\\([0-9.]*\\).*/pressure\\t$name\\t\\1/p" "/proc/pressure/$name" 2>/dev/null
done
if timeout {seconds} bash -c {shlex.quote(probe)} 2>/dev/null; then printf 'broker\\tyes\\n'; else printf 'broker\\tno\\n'; fi
set --
for file in {UNITS}/celery-*.service {RUNTIME_UNITS}/celery-*.service; do
  [ -e "$file" ] && set -- "$@" "${{file##*/}}"
done
[ $# = 0 ] || systemctl show --property={PROPERTIES} "$@" 2>/dev/null |
while IFS='=' read -r key value; do
  case $key in
    '') printf 'unit-end\\n' ;;
    MainPID)
      if [ "$value" != 0 ] && [ -d "/proc/$value" ]; then
        sed -n 's/^State:\\t*\\(.\\).*/unit\\tProcess\\t\\1/p' "/proc/$value/status"
        tr '\\0' '\\n' <"/proc/$value/environ" |
          sed -n 's/^FLEET_REVISION=/unit\\tRevision\\t/p; s/^FLEET_RELEASE=/unit\\tRelease\\t/p'
      fi ;;
    ControlGroup)
      [ -z "$value" ] || sed -n 's/^oom_kill /unit\\tOomKills\\t/p' "/sys/fs/cgroup$value/memory.events" 2>/dev/null ;;
    *) printf 'unit\\t%s\\t%s\\n' "$key" "$value" ;;
  esac
done
printf 'unit-end\\nend\\n'
"""


def parse(lines: Iterable[str]) -> Machine:
    """The machine that the output describes. Raises ValueError if it is cut short."""
    single: dict[str, str] = {}
    machine_lines: list[str] = []
    units: dict[str, Unit] = {}
    pressure: dict[str, float] = {}
    unit: dict[str, str] = {}
    complete = False
    for line in lines:
        kind, *fields = line.split("\t", 2)
        if kind == "unit" and len(fields) == 2:
            unit[fields[0]] = fields[1]
        elif kind == "unit-end":
            if unit.get("Id") and unit.get("LoadState") != "not-found":
                units[unit["Id"]] = _unit(unit, float(single.get("uptime") or 0))
            unit = {}
        elif kind == "pressure" and len(fields) == 2:
            pressure[fields[0]] = float(fields[1])
        elif kind == "end":
            complete = True
        elif kind in ("memory", "cores", *gpu.KINDS):
            machine_lines.append(line)
        elif fields:
            single[kind] = fields[0]
    if not complete:
        raise ValueError("the answer is cut short")
    return Machine(
        hostname=single.get("hostname", ""),
        facts=facts.parse(machine_lines),
        available=int(single.get("available") or 0) * 1024,
        load=float(single.get("load") or 0),
        reaches_broker={"yes": True, "no": False}.get(single.get("broker", "")),
        units=units,
        pressure=pressure,
        oom_kills=int(single.get("oom-kills") or 0),
    )


def _unit(properties: dict[str, str], uptime: float) -> Unit:
    active = properties.get("ActiveState", "")
    entered, signalled = (int(properties.get(f"{name}TimestampMonotonic") or 0) / 1e6 for name in ("ActiveEnter", "Watchdog"))
    return Unit(
        active=active,
        sub=properties.get("SubState", ""),
        result=properties.get("Result", ""),
        process=properties.get("Process", ""),
        status=properties.get("StatusText", ""),
        memory=_bytes(properties.get("MemoryCurrent")),
        memory_max=_bytes(properties.get("MemoryMax")),
        restarts=int(properties.get("NRestarts") or 0),
        up=max(0.0, uptime - entered) if active == "active" and entered else None,
        signalled=max(0.0, uptime - signalled) if active == "active" and signalled else None,
        stale=properties.get("NeedDaemonReload") == "yes",
        revision=properties.get("Revision"),
        release=properties.get("Release"),
        oom_kills=int(kills) if (kills := properties.get("OomKills", "")).isdecimal() else None,
    )


def _bytes(text: str | None) -> int | None:
    number = int(text) if text and text.isdecimal() else 0
    return number if 0 < number < _UNLIMITED else None
