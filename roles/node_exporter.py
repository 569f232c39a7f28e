"""Debian's node exporter: what Prometheus reads of machines themselves."""

from __future__ import annotations

from fleet.spec.fleet import Fleet, Host
from fleet.state.desired import Directory, File, State, Unit, revision
from fleet.state.paths import UNITS as UNIT_FOLDER
from fleet.state.render import render
from fleet.state.role import RunView

UNIT = "prometheus-node-exporter.service"
OVERRIDES = f"{UNIT_FOLDER}/{UNIT}.d"
OVERRIDE = f"{OVERRIDES}/fleet.conf"
PORT = 9100

PACKAGES = ("prometheus-node-exporter",)
PATHS = (OVERRIDES, OVERRIDE)
UNITS = (UNIT,)


def desired(run: RunView, host: Host) -> State:
    """The exporter, on hosts that the monitor reads."""
    target = targets(run.fleet).get(host.name)
    if target is None:
        return State()
    template = f"{OVERRIDE.lstrip('/')}.j2"
    address = target.removesuffix(f":{PORT}")
    digest = revision(render(template, address=address, revision=""))
    return State(
        packages=PACKAGES,
        directories=(Directory(OVERRIDES),),
        files=(File(OVERRIDE, render(template, address=address, revision=digest)),),
        units=(Unit(UNIT, digest),),
    )


def first(run: RunView, host: Host) -> State:
    """What has to be there before the package is: its service starts as it is installed, and would listen everywhere."""
    state = desired(run, host)
    return State(directories=state.directories, files=state.files)


def targets(fleet: Fleet) -> dict[str, str]:
    """Host → address and port at which its exporter answers, as a URL has them. Only Prometheus' own answers on loopback."""
    if fleet.monitor_host is None or fleet.monitor.node_exporter == "no":
        return {}
    if fleet.monitor.node_exporter == "monitor":
        return {fleet.monitor_host: f"127.0.0.1:{PORT}"}
    return {name: f"{_bracketed(host.settings.lan_address or '127.0.0.1')}:{PORT}" for name, host in fleet.hosts.items()}


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
