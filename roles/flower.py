"""Flower on the monitor's host, behind Caddy: an option."""

from __future__ import annotations

from pathlib import Path

from fleet.spec.endpoint import celery_variables
from fleet.spec.fleet import Host
from fleet.spec.secrets import FLOWER, accepted
from fleet.state.desired import Directory, File, State, Unit, revision
from fleet.state.paths import UNITS as UNIT_FOLDER
from fleet.state.render import render
from fleet.state.role import RunView
from roles import broker_client
from roles.worker import environment_file

UNIT, PROXY = "fleet-flower.service", "caddy.service"
UNIT_PATH = f"{UNIT_FOLDER}/{UNIT}"
FOLDER = "/opt/fleet-monitor/flower"
SETTINGS = "/etc/fleet-flower"
ENVIRONMENT = f"{SETTINGS}/environment"
CADDY, OVERRIDES = "/etc/caddy", f"{UNIT_FOLDER}/{PROXY}.d"
PORT = 5556

PACKAGES = ("caddy",)
PATHS = (
    FOLDER,
    f"{FOLDER}/build.sh",
    f"{FOLDER}/requirements.txt",
    SETTINGS,
    ENVIRONMENT,
    UNIT_PATH,
    CADDY,
    f"{CADDY}/Caddyfile",
    OVERRIDES,
    f"{OVERRIDES}/fleet.conf",
)
UNITS = (UNIT, PROXY)
_REQUIREMENTS = Path(__file__).parent.parent / "requirements" / "flower.txt"


def desired(run: RunView, host: Host) -> State:
    """Flower and its proxy, on the monitor's host if the settings ask for it. Elsewhere there is no Flower."""
    if host.name != run.fleet.monitor_host or not run.fleet.monitor.flower:
        return State(only=(UNIT_PATH, ENVIRONMENT))
    return _flower(run) + _proxy(run)


def first(run: RunView, host: Host) -> State:
    """What has to be there before the package is: its service starts as it is installed, and would listen everywhere."""
    state = desired(run, host)
    return State(
        directories=tuple(entry for entry in state.directories if entry.path in (CADDY, OVERRIDES)),
        files=tuple(entry for entry in state.files if entry.path.startswith((CADDY, OVERRIDES))),
    )


def _flower(run: RunView) -> State:
    variables = celery_variables(run.fleet, run.secrets)
    # While a password is changed there are two, in an order that does not depend on which is the present one.
    variables |= {"FLOWER_BASIC_AUTH": ",".join(f"flower:{password}" for password in sorted(accepted(run.secrets, FLOWER)))}
    files = (
        File(f"{FOLDER}/build.sh", render("opt/fleet-monitor/flower/build.sh.j2", folder=FOLDER)),
        File(f"{FOLDER}/requirements.txt", _REQUIREMENTS.read_bytes()),
        File(ENVIRONMENT, environment_file(variables), mode=0o600),
    )
    template = f"{UNIT_PATH.lstrip('/')}.j2"
    values = {"folder": FOLDER, "environment": ENVIRONMENT, "group": broker_client.key_group(run)}
    digest = revision(render(template, **values, revision=""), *(file.content for file in files))
    return State(
        directories=(Directory(FOLDER), Directory(SETTINGS)),
        files=(*files, File(UNIT_PATH, render(template, **values, revision=digest))),
        units=(Unit(UNIT, digest),),
    )


def _proxy(run: RunView) -> State:
    configuration = File(f"{CADDY}/Caddyfile", render("etc/caddy/Caddyfile.j2", address=run.fleet.monitor_address, port=PORT))
    template = f"{OVERRIDES.lstrip('/')}/fleet.conf.j2"
    digest = revision(configuration.content, render(template, revision=""))
    return State(
        packages=PACKAGES,
        directories=(Directory(CADDY), Directory(OVERRIDES)),
        files=(configuration, File(f"{OVERRIDES}/fleet.conf", render(template, revision=digest))),
        units=(Unit(PROXY, digest),),
    )
