"""What a machine needs to trust the broker, and to be trusted by it: certificates, for everybody who connects from there."""

from __future__ import annotations

from fleet.spec.endpoint import FOLDER, ON_MACHINES
from fleet.spec.fleet import Host
from fleet.state.desired import Directory, File, State
from fleet.state.paths import USER
from fleet.state.role import RunView

FILES = tuple(map(str, ON_MACHINES))

PACKAGES = ()
PATHS = (FOLDER, *FILES)
UNITS = ()


def key_group(run: RunView) -> str:
    """The group that a service has to be in to read the key of the clients; empty if there is none."""
    return USER if run.fleet.own_broker is None and run.certificates.key else ""


def desired(run: RunView, host: Host) -> State:
    """The files that are there, on machines with workers or beat, and the monitor's. Our own broker asks no client for one."""
    if not host.workers and host.name not in (run.fleet.monitor_host, *run.fleet.beat_hosts):
        return State(only=FILES)
    given = run.certificates
    contents = (given.authorities,) if run.fleet.own_broker else (given.authorities, given.certificate, given.key)
    files = [
        File(path, content, mode=0o640 if path.endswith(".key") else 0o644, group=USER if path.endswith(".key") else "root")
        for path, content in zip(FILES, contents, strict=False)
        if content
    ]
    return State(directories=(Directory(FOLDER),) if files else (), files=tuple(files), only=FILES)
