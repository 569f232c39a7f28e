"""A whole role, as an example: Prometheus' node exporter on the machines that have workers."""

from __future__ import annotations

from fleet.spec.fleet import Host
from fleet.state.desired import File, State, Unit, revision
from fleet.state.role import RunView

OVERRIDE = "/etc/systemd/system/prometheus-node-exporter.service.d/fleet.conf"
UNIT = "prometheus-node-exporter.service"

PACKAGES = ("prometheus-node-exporter",)
PATHS = (OVERRIDE,)
UNITS = (UNIT,)


def desired(run: RunView, host: Host) -> State:
    """The exporter, listening on loopback alone."""
    if not host.workers:
        return State()
    service = "[Service]\nEnvironment=ARGS=--web.listen-address=127.0.0.1:9100\n"
    digest = revision(service.encode())
    override = f"{service}Environment=FLEET_REVISION={digest}\n"
    return State(packages=PACKAGES, files=(File(OVERRIDE, override.encode()),), units=(Unit(UNIT, digest),))
