"""The probe: one shell command that reports all that a run has to know of a machine, and what its output means.

The command needs sh and coreutils alone and runs as root, also on a machine that nothing was installed on yet; it reports Python,
systemd and dpkg if they are there. Lines are `kind<TAB>fields…`; what is missing prints nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from fleet.plan import facts, gpu
from fleet.plan.facts import MachineFacts
from fleet.plan.gpu import GpuReport
from fleet.state.paths import RELEASES, RUNTIME_UNITS, UNITS
from fleet_node.protocol import STATE_FOLDER, UNVERIFIED

NO_HISTORY = "none"
"""The stamp of a machine on which no run was recorded."""
STAMP = f"cksum <{{folder}}/history.jsonl 2>/dev/null || echo {NO_HISTORY}"
"""sh that prints another line as soon as some run has ended and was recorded in the history."""


@dataclass(frozen=True, repr=False)
class Watched:
    """All that the probe looks at, as `fleet.state.role.watched` adds it up. paths, units: shell patterns."""

    packages: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # pyinfra prints it if a machine does not answer the probe.
        return f"<{len(self.paths)} paths, {len(self.units)} units>"


@dataclass(frozen=True)
class ObservedPath:
    """What stands at a path. kind: f (file), d (directory), l (link)…, as in find's %y. digest: of files that are hashed."""

    kind: str
    owner: str
    group: str
    mode: int
    digest: str | None = None


@dataclass(frozen=True)
class RunningUnit:
    """A unit as systemd sees it. revision, release: FLEET_REVISION and FLEET_RELEASE in the environment of its main process."""

    active: bool
    enabled: bool
    stale: bool  # its file changed since systemd read it
    pid: int = 0
    revision: str | None = None
    description: str = ""
    release: str | None = None


@dataclass(frozen=True)
class ObservedMachine:
    """What the probe reported. memory in bytes; python as `3.11`, empty if there is none. units: by name, those that exist."""

    memory: int = 0
    cores: int = 0
    python: str = ""
    architecture: str = ""
    os: str = ""
    hostname: str = ""
    history: str | None = None  # the stamp of the runs so far, on the broker's machine
    gpus: GpuReport = field(default_factory=GpuReport)
    addresses: tuple[str, ...] = ()
    packages: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    paths: dict[str, ObservedPath] = field(default_factory=dict)
    units: dict[str, RunningUnit] = field(default_factory=dict)
    unverified: frozenset[str] = frozenset()  # units whose last step was cut off before it was verified

    @property
    def facts(self) -> MachineFacts:
        """What sizing has to know."""
        return MachineFacts(self.cores, self.memory, self.gpus.count, self.gpus)


def command(watched: Watched, destdir: str = "") -> str:
    """The probe, as one sh command. With `destdir`, paths are looked for below it."""
    paths = " ".join(destdir + pattern for pattern in watched.paths)  # unquoted: the shell expands the patterns
    # /usr/bin/python3 is what releases are built with. If its link names the version it is not started: 11 of 28 ms of CPU.
    return f"""
export LC_ALL=C
{facts.SHELL}python=$(readlink -f /usr/bin/python3)
case ${{python##*/}} in
  python3.[0-9] | python3.[0-9][0-9]) printf 'python\\t%s\\n' "${{python##*/python}}" ;;
  *) printf 'python\\t%s\\n' "$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" ;;
esac
[ ! -d {STATE_FOLDER} ] || printf 'history\\t%s\\n' "$({STAMP.format(folder=STATE_FOLDER)})"
printf 'architecture\\t%s\\n' "$(uname -m)"
printf 'hostname\\t%s\\n' "$(uname -n)"
printf 'os\\t%s\\n' "$(. /etc/os-release 2>/dev/null && echo "$ID $VERSION_ID")"
printf 'addresses\\t%s\\n' "$(hostname -I 2>/dev/null)"
dpkg-query -W -f 'package\\t${{Package}}\\t${{db:Status-Status}}\\n' {_words(watched.packages)} 2>/dev/null
getent passwd {_words(watched.users)} | while IFS=: read -r name rest; do printf 'user\\t%s\\n' "$name"; done
find -H {paths} -maxdepth 0 -printf 'path\\t%y\\t%u\\t%g\\t%m\\t%p\\n' 2>/dev/null
find -H {shlex.quote(destdir + RELEASES)} -maxdepth 2 -printf 'path\\t%y\\t%u\\t%g\\t%m\\t%p\\n' 2>/dev/null
find {paths} -maxdepth 0 -type f -exec sha256sum {{}} + 2>/dev/null | sed 's/^\\([0-9a-f]*\\)  /digest\\t\\1\\t/'
if [ -z {shlex.quote(destdir)} ] && [ -d /run/systemd/system ]; then
  # A step that was cut off before it was verified: the right worker runs, and nobody knows whether it works.
  sed 's/^/unverified\\t/' {STATE_FOLDER}/{UNVERIFIED} 2>/dev/null
  set --
  for pattern in {_words(watched.units)}; do
    case $pattern in
      *\\**) for file in {UNITS}/$pattern {RUNTIME_UNITS}/$pattern; do
          [ -e "$file" ] && set -- "$@" "${{file##*/}}"
        done ;;
      *) set -- "$@" "$pattern" ;;
    esac
  done
  systemctl show --property=Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,MainPID,Description "$@" |
  while IFS='=' read -r key value; do
    case $key in
      '') printf 'unit-end\\n' ;;
      MainPID) printf 'unit\\tMainPID\\t%s\\n' "$value"
        [ "$value" = 0 ] || tr '\\0' '\\n' <"/proc/$value/environ" |
          sed -n 's/^FLEET_REVISION=/unit\\tRevision\\t/p; s/^FLEET_RELEASE=/unit\\tRelease\\t/p' ;;
      *) printf 'unit\\t%s\\t%s\\n' "$key" "$value" ;;
    esac
  done
fi
printf 'end\\n'
"""


def _words(names: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, names))


def parse(lines: Iterable[str], destdir: str = "") -> ObservedMachine:
    """The machine that the probe's output describes. Raises ValueError if the output is cut short."""
    single: dict[str, str] = {}
    gpu_lines: list[list[str]] = []
    packages: set[str] = set()
    users: set[str] = set()
    unverified: set[str] = set()
    paths: dict[str, ObservedPath] = {}
    units: dict[str, RunningUnit] = {}
    unit: dict[str, str] = {}
    complete = False
    for line in lines:
        kind, *fields = line.split("\t", 5)  # a path, the last of a line, may hold tabs
        if kind == "path":
            file_type, owner, group, mode, path = fields
            # A pattern that ends with "/" finds directories, and find prints the slash.
            paths[path.removeprefix(destdir).rstrip("/")] = ObservedPath(file_type, owner, group, int(mode, 8))
        elif kind == "digest":
            name = fields[1].removeprefix(destdir)
            if name in paths:
                paths[name] = replace(paths[name], digest=fields[0])
        elif kind == "unit":
            unit[fields[0]] = fields[1]
        elif kind == "package" and fields[1] == "installed":
            packages.add(fields[0])
        elif kind == "user":
            users.add(fields[0])
        elif kind == "unverified":
            unverified.add(fields[0])
        elif kind in gpu.KINDS:
            gpu_lines.append([kind, *fields])
        elif kind in ("unit-end", "end"):
            if unit.get("LoadState") not in (None, "not-found"):
                units[unit["Id"]] = _unit(unit)
            unit = {}
            complete = kind == "end"
        elif fields:
            single[kind] = fields[0]
    if not complete:
        raise ValueError("the probe's output is cut short")
    return ObservedMachine(
        memory=int(single.get("memory") or 0) * 1024,
        cores=int(single.get("cores") or 0),
        python=single.get("python", ""),
        architecture=single.get("architecture", ""),
        os=single.get("os", ""),
        hostname=single.get("hostname", ""),
        history=single.get("history"),
        gpus=gpu.parse(gpu_lines),
        addresses=tuple(single.get("addresses", "").split()),
        packages=frozenset(packages),
        users=frozenset(users),
        paths=paths,
        units=units,
        unverified=frozenset(unverified),
    )


def _unit(properties: dict[str, str]) -> RunningUnit:
    return RunningUnit(
        active=properties.get("ActiveState") == "active",
        enabled=properties.get("UnitFileState") in ("enabled", "static"),
        stale=properties.get("NeedDaemonReload") == "yes",
        pid=int(properties.get("MainPID") or 0),
        revision=properties.get("Revision"),
        description=properties.get("Description", ""),
        release=properties.get("Release"),
    )
