"""Celery's beat, on the hosts in the group beat: the workers' app and release, in one hardened unit."""

from __future__ import annotations

from fleet.plan import process
from fleet.spec.fleet import Host
from fleet.state.desired import Directory, File, State, Unit, revision
from fleet.state.paths import BEAT_ENVIRONMENT, BEAT_ETC, BEAT_UNIT, HOME, USER
from fleet.state.paths import UNITS as UNIT_FOLDER
from fleet.state.render import render
from fleet.state.role import RunView
from roles.worker import environment_file

UNIT_PATH = f"{UNIT_FOLDER}/{BEAT_UNIT}"
FOLDER = f"{HOME}/beat"
SCHEDULE = f"{FOLDER}/schedule"

PACKAGES = ()
PATHS = (UNIT_PATH, BEAT_ETC, BEAT_ENVIRONMENT, FOLDER)
UNITS = (BEAT_UNIT, "fleet.target")


def desired(run: RunView, host: Host) -> State:
    """Beat's unit and environment, on a host of its group. Elsewhere there is no beat."""
    if host.name not in run.fleet.beat_hosts:
        return State(only=(UNIT_PATH, BEAT_ENVIRONMENT))
    release = run.release_of(host)
    environment = File(BEAT_ENVIRONMENT, environment_file(process.beat_environment(run.plan, host, run.secrets)), mode=0o600)
    template = f"{UNIT_PATH.lstrip('/')}.j2"
    values = {
        "user": USER,
        "home": HOME,
        "state_path": FOLDER,
        "env_path": BEAT_ENVIRONMENT,
        "release": release,
        "beat": run.fleet.beat,
        "arguments": process.beat_arguments(run.fleet.beat, release.app, SCHEDULE),
        "start_seconds": process.START_SECONDS,
        "watchdog_seconds": process.BEAT_WATCHDOG,
        "stop_seconds": process.BEAT_STOP,
        "abort_seconds": process.ABORT_SECONDS,
    }
    digest = revision(render(template, **values, revision=""), environment.content)
    return State(
        directories=(Directory(BEAT_ETC, mode=0o750, group=USER), Directory(FOLDER, mode=0o750, owner=USER, group=USER)),
        files=(environment, File(UNIT_PATH, render(template, **values, revision=digest))),
        units=(Unit(BEAT_UNIT, digest), Unit("fleet.target")),
        only=(UNIT_PATH, BEAT_ENVIRONMENT),
    )
