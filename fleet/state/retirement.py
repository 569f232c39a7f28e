"""What celery-fleet has on a machine, and sh that ends and removes it.

What stays: the user `celery`, what tasks wrote below its home, Debian packages and drivers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote

from fleet.plan import facts, process
from fleet.plan.facts import MachineFacts
from fleet.spec.endpoint import FOLDER
from fleet.spec.groups import BEAT
from fleet.state.paths import BEAT_ETC, BEAT_UNIT, ETC, RELEASES, RUNTIME_UNITS, UNITS
from fleet.state.systemctl import words
from fleet_node.protocol import DRAIN_FILE, ENDED_FILE, STATE_FOLDER, STEP_LOCK

_UNIT = re.compile(r"celery-(?P<role>.+)@(?P<number>\d+(-surge|-extra)?)\.service")
OPT = RELEASES.rpartition("/")[0]
"""Releases, virtualenvs, and what they are built with."""
WATCH, TARGET, SLICE = "fleet-gpu.service", "fleet.target", "fleet.slice"
MONITOR = ("fleet-exporter.service", "fleet-flower.service")
"""Of a monitor's machine. Debian's Prometheus and its data are the user's."""
MONITOR_PATHS = ("/etc/fleet-exporter", "/etc/fleet-flower", "/opt/fleet-monitor")
STOP_SECONDS = 600
"""Seconds that a unit may take to stop if its file does not say."""
MARGIN = 120
"""Seconds above what the units may take to stop, for all the rest."""
EVERY = 2
"""Seconds between two looks at units that stop."""


@dataclass(frozen=True)
class InstalledUnit:
    """A worker's unit. stop_seconds: after which systemd kills it. release: the id of the release that it runs; empty if that is
    not known."""

    name: str
    active: bool
    stop_seconds: int = STOP_SECONDS
    release: str = ""

    @property
    def role(self) -> str:
        """Its role; empty if no role could have such a unit."""
        match = _UNIT.fullmatch(self.name)
        return match["role"] if match else ""

    @property
    def runtime(self) -> str:
        """Its runtime folder."""
        return f"/run/{self.name.removesuffix('.service').replace('@', '-')}"

    def node(self, hostname: str) -> str:
        """Its worker's name among Celery's."""
        match = _UNIT.fullmatch(self.name)
        return process.node(match["role"], match["number"], hostname) if match else ""


@dataclass(frozen=True)
class Installed:
    """What a machine has of celery-fleet. paths: of those that retiring it removes. facts: None if it did not report them."""

    hostname: str = ""
    units: tuple[InstalledUnit, ...] = ()
    paths: tuple[str, ...] = ()
    facts: MachineFacts | None = field(default=None, compare=False)

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles that have a unit or an environment here. Beat is one, of the name of its group."""
        environments = (
            path[len(ETC) + 1 : -len(".env")] for path in self.paths if path.startswith(ETC) and path.endswith(".env")
        )
        beat = [BEAT] if f"{UNITS}/{BEAT_UNIT}" in self.paths else []
        return tuple(sorted({role for role in (*(unit.role for unit in self.units), *environments, *beat) if role}))


@dataclass(frozen=True)
class Removal:
    """What is to be ended and removed. units: of workers, which drain. others: units that end after them."""

    units: tuple[InstalledUnit, ...]
    others: tuple[str, ...]
    paths: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.units or self.paths)

    @property
    def seconds(self) -> int:
        """After which it is over."""
        # A worker whose tasks make progress asks systemd for more time, once.
        return 2 * max((unit.stop_seconds for unit in self.units), default=0) + MARGIN


def survey_command(destdir: str = "") -> str:
    """sh that reports what celery-fleet has on a machine. It is to run as root: secrets are in folders that are closed."""
    machine = (f"{UNITS}/{name}" for name in (BEAT_UNIT, WATCH, *MONITOR, TARGET, SLICE))
    own = (f"{ETC}/*.env", ETC, BEAT_ETC, FOLDER, OPT, STATE_FOLDER, *MONITOR_PATHS, *machine)
    paths = " ".join(f"{destdir}{path}" for path in own)
    return f"""export LC_ALL=C
{facts.SHELL}printf 'hostname\\t%s\\n' "$(uname -n)"
for file in {destdir}{UNITS}/celery-*@*.service {destdir}{RUNTIME_UNITS}/celery-*@*.service; do
  [ -e "$file" ] || continue
  printf 'unit\\t%s\\t%s\\t%s\\t%s\\n' "${{file##*/}}" "$(systemctl is-active "${{file##*/}}" 2>/dev/null)" \\
    "$(sed -n 's/^TimeoutStopSec=\\([0-9]*\\)$/\\1/p' "$file" | head -n 1)" \\
    "$(sed -n 's,^ExecStart={RELEASES}/\\([^/]*\\)/.*,\\1,p' "$file" | head -n 1)"
done
for path in {paths}; do [ ! -e "$path" ] || printf 'path\\t%s\\n' "${{path#{destdir}}}"; done
printf 'end\\n'
"""


def parse(output: Iterable[str]) -> Installed:
    """What the output of survey_command says. Raises ValueError if it is cut short."""
    lines = [line.rstrip("\n").split("\t") for line in output]
    if ["end"] not in lines:
        raise ValueError("its answer is cut short")
    units: dict[str, InstalledUnit] = {}
    for name, state, seconds, release in (line[1:] for line in lines if line[0] == "unit" and len(line) == 5):
        active = state not in ("inactive", "failed", "unknown", "")
        units.setdefault(name, InstalledUnit(name, active, int(seconds or STOP_SECONDS), release))
    try:
        machine = facts.parse("\t".join(line) for line in lines)
    except ValueError:
        machine = None
    hostname = next((line[1] for line in lines if line[0] == "hostname"), "")
    return Installed(hostname, tuple(units.values()), tuple(line[1] for line in lines if line[0] == "path"), machine)


def removal(installed: Installed, role: str | None = None) -> Removal:
    """What goes with a machine, or with one role of it. Releases go with the last role: the workers of others run them."""
    units = tuple(unit for unit in installed.units if role in (None, unit.role))
    files = [f"{folder}/{unit.name}" for unit in units for folder in (UNITS, RUNTIME_UNITS)]
    runtime = [unit.runtime for unit in units]
    present = set(installed.paths)
    others: tuple[str, ...] = ()
    if role is None:
        others = (BEAT_UNIT, WATCH, *MONITOR, TARGET, SLICE)
        own = [*(f"{UNITS}/{name}" for name in others), ETC, BEAT_ETC, FOLDER, OPT, STATE_FOLDER, *MONITOR_PATHS]
    elif role == BEAT:
        others, last = (BEAT_UNIT,), set(installed.roles) <= {BEAT}
        own = [f"{UNITS}/{BEAT_UNIT}", BEAT_ETC, f"{ETC}/{BEAT}.env", *([OPT] if last else [])]
    elif set(installed.roles) <= {role}:
        own, others = [f"{UNITS}/{WATCH}", f"{ETC}/{role}.env", OPT], (WATCH,)
    else:
        own = [f"{ETC}/{role}.env"]
    return Removal(
        units,
        tuple(name for name in others if f"{UNITS}/{name}" in present),
        (*files, *runtime, *(path for path in own if path in present)),
    )


def removal_command(what: Removal, destdir: str = "") -> str:
    """sh that drains, stops, disables and removes. It prints `stopping`, `drained`, `killed` and `removed` lines.

    If it is cut off, systemd goes on with the stops that have begun, and the same command finishes the rest.
    """

    def file(unit: InstalledUnit, name: str) -> str:
        return quote(f"{destdir}{unit.runtime}/{name}")

    look = "systemctl show --value --property"
    active = [unit for unit in what.units if unit.active]
    reports = "".join(
        f"""
  [ ! -s {file(unit, DRAIN_FILE)} ] || printf 'drained\\t%s\\t%s\\n' {quote(unit.name)} "$(cat {file(unit, DRAIN_FILE)})"
  case $(tail -n 1 {file(unit, ENDED_FILE)} 2>/dev/null) in "timeout "*KILL) printf 'killed\\t%s\\n' {quote(unit.name)} ;; esac"""
        for unit in active
    )
    earlier = words(f"{destdir}{unit.runtime}/{name}" for unit in active for name in (DRAIN_FILE, ENDED_FILE))
    folder = f"{destdir}{STATE_FOLDER}"
    return f"""export LC_ALL=C
if [ -d {folder} ]; then
  exec 9>>{folder}/{STEP_LOCK}
  flock -n 9 || {{ echo "a step of an earlier run is still at work on this machine" >&2; exit 1; }}
fi
begun=$(date +%s)
if [ -d /run/systemd/system ] || [ -n "{destdir}" ]; then
  set --
  for unit in {words(unit.name for unit in what.units)}; do
    if systemctl cat "$unit" >/dev/null 2>&1; then set -- "$@" "$unit"; fi
  done
  if [ $# != 0 ]; then
    for unit in "$@"; do systemctl disable --quiet "$unit" 2>/dev/null; done  # one in /run is not enabled
    rm -f {earlier}
    systemctl stop --no-block "$@" || exit 1
  fi
  while :; do
    left=
    for unit in "$@"; do
      case $({look}=ActiveState "$unit") in
        inactive | failed) ;;
        *) left="$left $unit"
          printf 'stopping\\t%s\\t%s\\n' "$unit" "$({look}=StatusText "$unit")" ;;
      esac
    done
    [ -n "$left" ] || break
    if [ $(($(date +%s) - begun)) -ge {max(1, what.seconds - MARGIN // 2)} ]; then
      echo "still stopping, and nothing was removed:$left" >&2
      exit 1
    fi
    sleep {EVERY}
  done{reports}
  for unit in {words(what.others)}; do
    systemctl disable --quiet --now "$unit" 2>/dev/null || systemctl stop "$unit" || exit 1  # a slice cannot be disabled
  done
fi
for path in {words(f"{destdir}{path}" for path in what.paths)}; do
  [ -e "$path" ] || continue
  rm -rf "$path" || exit 1
  printf 'removed\\t%s\\n' "${{path#{destdir}}}"
done
if [ -d /run/systemd/system ] || [ -n "{destdir}" ]; then
  systemctl daemon-reload || exit 1
  for unit in "$@"; do systemctl reset-failed "$unit" 2>/dev/null; done
fi
printf 'end\\n'
"""


def in_words(line: Sequence[str], seen: Mapping[str, str]) -> str:
    """A line of removal_command's output for people; empty if it says nothing new. seen: unit → what was last said of it."""
    kind, *rest = line
    if kind == "stopping" and len(rest) == 2 and seen.get(rest[0]) != rest[1]:
        return f"{rest[0]}: {rest[1] or 'stopping'}"
    if kind == "drained" and len(rest) == 2:
        return f"{rest[0]}: {_summary(rest[1])}"
    if kind == "killed":
        return f"{rest[0]}: WAS KILLED: it had not ended when its time to stop was over, and what it held goes to others"
    if kind == "removed":
        return f"removed {rest[0]}"
    return ""


def _summary(report: str) -> str:
    """A DrainReport in words."""
    try:
        return str(json.loads(report)["summary"])
    except (ValueError, KeyError, TypeError):
        return "drained"
