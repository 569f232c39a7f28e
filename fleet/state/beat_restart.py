"""sh that restarts beat on a machine: first those that stand by, then the one that leads, so that another takes over at once."""

from __future__ import annotations

from fleet.state.paths import BEAT_UNIT
from fleet.state.systemctl import act


def check(path: str, release: str) -> str:
    """Fail if a release cannot run a beat. path: of the release."""
    complaint = f"release {release} is of an earlier celery-fleet, which had no beat: beat goes on as it is; deploy again"
    return f'[ -d {path}/node/fleet_node/beat ] || {{ echo "{complaint}" >&2; exit 1; }}'


def standby() -> str:
    """Restart it unless it leads, and have it started with the machine."""
    return f"""systemctl enable --quiet {BEAT_UNIT} || exit 1
case $(systemctl is-active {BEAT_UNIT}) in
  active) case $(systemctl show --value --property=StatusText {BEAT_UNIT}) in leader*) exit 0 ;; esac ;;
esac
{act("restart", [BEAT_UNIT])}"""


def leader(revision: str | None, pid: int) -> str:
    """Restart it if that is not done. revision: that it should run; None: it is restarted as it is, if its process is still
    `pid`."""
    runs = f"main=$(systemctl show --value --property=MainPID {BEAT_UNIT})"
    if revision is None:
        done = f'[ "$main" != {pid} ]'
    else:
        done = f"tr '\\0' '\\n' <\"/proc/$main/environ\" 2>/dev/null | grep -qx FLEET_REVISION={revision}"
    return f"{runs}; if {done}; then exit 0; fi; {act('restart', [BEAT_UNIT])}"
