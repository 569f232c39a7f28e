"""One instance more of a role on its machines, for a time: where lending and more slots are not enough. Pure.

It is a copy of a worker's unit under another name, which is gone with the next boot. A timer of systemd's has it drained and
ended before. No rollout counts on it (protocol.EXTRA).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass

from fleet.plan.plan import Plan

REFUSED = 75
"""Exit code of `command` if there is no room, or one already. It prints why."""


@dataclass(frozen=True)
class Extra:
    """A second instance beside a worker of a role. slots: that it has. need: bytes of memory that it is expected to take."""

    host: str
    role: str
    number: int
    slots: int
    need: int

    @property
    def unit(self) -> str:
        """Its unit."""
        return f"celery-{self.role}@{self.number}-extra.service"


def extras(plan: Plan, roles: Collection[str], lacking: int) -> list[Extra]:
    """Second instances for so many slots, at most one a machine, on those with the most memory first. Only of roles whose tasks
    wait: of others, and of those with a device, one process more helps nobody."""
    places = [place for place in plan.placed if place.role in roles and place.sized.instances and place.worker.workload == "io"]
    chosen: dict[str, Extra] = {}
    for place in sorted(places, key=lambda place: -plan.machines[place.host].memory):
        if lacking > 0 and place.host not in chosen:
            sized = place.sized
            chosen[place.host] = Extra(place.host, place.role, 1, sized.concurrency, sized.expected)
            lacking -= sized.concurrency
    return list(chosen.values())


def command(extra: Extra, seconds: float) -> str:
    """sh, to be run as root: starts it if the machine has the memory, and has it drained and ended after so many seconds."""
    role, number = extra.role, str(extra.number)
    unit, one = f"celery-{role}@{number}.service", extra.unit
    names = {
        f"{role}-worker-{number}@": f"{role}-worker-{number}-extra@",
        f"RuntimeDirectory=celery-{role}-{number}$": f"RuntimeDirectory=celery-{role}-{number}-extra",
        f"SyslogIdentifier=celery-{role}@{number}$": f"SyslogIdentifier=celery-{role}@{number}-extra",
        "^Restart=always$": "Restart=no",
    }
    edits = " ".join(f"-e {shlex.quote(f's/{old}/{new}/g')}" for old, new in names.items())
    path, end = f"/run/systemd/system/{one}", f"systemctl stop {one}; rm -f /run/systemd/system/{one}; systemctl daemon-reload"
    return (
        f"if systemctl -q is-active {one}; then echo 'there is one already'; exit {REFUSED}; fi; "
        f"if ! systemctl -q is-active {unit}; then echo '{unit} does not run'; exit {REFUSED}; fi; "
        "free=$(awk '/^MemAvailable:/ {print $2 * 1024}' /proc/meminfo); "
        f'if [ "$free" -lt {extra.need} ]; then echo "$free bytes of memory are free, and it takes {extra.need}"; '
        f"exit {REFUSED}; fi; "
        f"mkdir -p /run/systemd/system && sed {edits} -e '/^\\[Install\\]$/,$d' /etc/systemd/system/{unit} >{path} "
        f"&& systemctl daemon-reload && systemctl start {one} "
        f"&& systemd-run --quiet --collect --on-active={seconds:.0f} /bin/sh -c {shlex.quote(end)}"
    )
