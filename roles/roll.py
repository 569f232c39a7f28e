"""One step of a rollout on one machine: new files in, workers restarted, and the old files back where they do not come up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from roles.diff import UNIT_FOLDER, Changes
from roles.machine import ETC
from roles.state import Entry, State
from roles.systemctl import act, show, words


def files(wanted: State, units: Iterable[str]) -> tuple[Entry, ...]:
    """The unit files of these units, and the environments of their roles: what changes with them, and not before."""
    paths = {UNIT_FOLDER + unit for unit in units}
    paths |= {f"{ETC}/{unit.removeprefix('celery-').partition('@')[0]}.env" for unit in units}
    return tuple(entry for entry in wanted.entries if entry.path in paths)


def besides(changes: Changes, wanted: State, units: Iterable[str]) -> Changes:
    """What is to do at once: all but what belongs to `units`, and no start of anything."""
    theirs = {entry.path for entry in files(wanted, tuple(units))}
    return replace(changes, write=tuple(entry for entry in changes.write if entry.path not in theirs), start=(), restart=())


def command(units: Iterable[str], entries: Iterable[Entry], unpack: str) -> str:
    """sh that reads an archive of `entries` on stdin (see roles.archive), and restarts `units`.

    systemd drains each: SIGTERM, then all the time that TimeoutStopSec gives; and it waits until each has said that it consumes.
    Where one does not, the files are put back as they were, and the units with them. Exit 1 then. A connection that is lost in
    the middle ends nothing.
    """
    units = tuple(units)
    names, paths = words(units), words(entry.path.lstrip("/") for entry in entries)
    return f"""trap '' HUP PIPE
cd /
before=$(mktemp /var/lib/fleet/before.XXXXXX)
set --
for path in {paths}; do [ ! -e "$path" ] || set -- "$@" "$path"; done
[ $# = 0 ] || tar -cf "$before" "$@"
if {unpack} && systemctl daemon-reload && systemctl enable --quiet {names} && systemctl restart {names}; then
  rm -f "$before"
  exit 0
fi
{show(units)}
if [ $# != 0 ]; then
  tar -xpmf "$before" && systemctl daemon-reload
  if systemctl restart {names}; then
    echo put back as it was: {names} >&2
  else
    echo what was there before does not start either: {names} >&2
  fi
fi
rm -f "$before"
exit 1
"""


def restart_command(units: Iterable[str]) -> str:
    """sh that restarts `units` as they are. Exit 1 where one does not come up."""
    return f"trap '' HUP PIPE\n{act('restart', units)}"
