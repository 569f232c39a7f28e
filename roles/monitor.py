"""The monitor: the fleet's exporter, and Debian's Prometheus and Alertmanager, on the host in the group monitor."""

from __future__ import annotations

import json
from pathlib import Path

from fleet.errors import FleetError
from fleet.plan import expected, process
from fleet.spec import endpoint
from fleet.spec.fleet import Host
from fleet.spec.rabbitmq import MANAGEMENT_PORT
from fleet.spec.sizes import resolve
from fleet.spec.text import enumerate_briefly
from fleet.state.desired import Directory, File, State, Unit, revision
from fleet.state.paths import UNITS as UNIT_FOLDER
from fleet.state.render import render
from fleet.state.role import RunView
from roles import alerts, balancer, broker_client, dashboard
from roles.node_exporter import targets

PROMETHEUS, ALERTMANAGER, EXPORTER = "prometheus.service", "prometheus-alertmanager.service", "fleet-exporter.service"
CONFIGURATION = "/etc/prometheus"
FILES = tuple(f"{CONFIGURATION}/{name}" for name in ("prometheus.yml", "fleet-rules.yml", "alertmanager.yml"))
OPT = "/opt/fleet-monitor"
FOLDER = f"{OPT}/exporter"
SETTINGS = "/etc/fleet-exporter"
EXPORTER_UNIT = f"{UNIT_FOLDER}/{EXPORTER}"
SOURCES = (f"{FOLDER}/fleet_exporter/*.py", f"{FOLDER}/fleet_node/*.py")
OVERRIDES = tuple(f"{UNIT_FOLDER}/{unit}.d" for unit in (PROMETHEUS, ALERTMANAGER))

PACKAGES = (
    "prometheus",
    "prometheus-alertmanager",
    "python3-prometheus-client",
    "python3-redis",
    "python3-amqp",
    *balancer.PACKAGES,
)
PATHS = (
    *FILES,
    *OVERRIDES,
    *(f"{folder}/fleet.conf" for folder in OVERRIDES),
    EXPORTER_UNIT,
    OPT,
    FOLDER,
    f"{FOLDER}/fleet_exporter",
    f"{FOLDER}/fleet_node",
    *SOURCES,
    SETTINGS,
    f"{SETTINGS}/fleet.json",
    f"{SETTINGS}/broker-url",
    *balancer.paths(FOLDER),
    *dashboard.FOLDERS,
    dashboard.DASHBOARD,
    dashboard.DATASOURCE,
    dashboard.PROVIDER,
)
UNITS = (PROMETHEUS, ALERTMANAGER, EXPORTER, balancer.UNIT)
_ROOT = Path(__file__).parent.parent


def desired(run: RunView, host: Host) -> State:
    """All of it, on the monitor's host. Elsewhere there is no exporter, and no balancer."""
    if host.name != run.fleet.monitor_host:
        return State(only=(EXPORTER_UNIT, balancer.UNIT_PATH, balancer.TERMS, balancer.URL))
    told = File(f"{SETTINGS}/fleet.json", expectations(run))
    return (
        _exporter(run, told) + balancer.desired(run, FOLDER, told) + _prometheus(run, host) + _alertmanager(run) + _grafana(run)
    )


def first(run: RunView, host: Host) -> State:
    """What has to be there before the packages are: their services start as they are installed, and would listen everywhere."""
    state = desired(run, host)
    return State(
        directories=tuple(entry for entry in state.directories if entry.path in OVERRIDES),
        files=tuple(entry for entry in state.files if entry.path.startswith(OVERRIDES)),
    )


def is_whole(run: RunView) -> bool:
    """Whether every machine with workers was asked. A run on some of them does not know what the exporter should expect."""
    return all(host.name in run.observed for host in run.fleet.hosts.values() if host.workers)


def _exporter(run: RunView, settings: File) -> State:
    sources = [
        *(File(f"{FOLDER}/fleet_exporter/{file.name}", file.read_bytes()) for file in sorted(_python(_ROOT / "fleet_exporter"))),
        *(
            File(f"{FOLDER}/fleet_node/{name}", (_ROOT / "fleet_node" / name).read_bytes())
            for name in ("__init__.py", "protocol.py")
        ),
    ]
    url = File(f"{SETTINGS}/broker-url", f"{endpoint.broker(run.fleet, run.secrets, 'monitor').url}\n".encode(), mode=0o600)
    values = {"folder": FOLDER, "settings": settings.path, "url": url.path, "group": broker_client.key_group(run)}
    template = f"{EXPORTER_UNIT.lstrip('/')}.j2"
    contents = [file.content for file in (*sources, settings, url)]
    digest = revision(render(template, **values, revision=""), *contents)
    return State(
        packages=("python3-prometheus-client", "python3-redis", *(("python3-amqp",) if run.fleet.transport == "amqp" else ())),
        directories=tuple(
            Directory(path) for path in (OPT, FOLDER, f"{FOLDER}/fleet_exporter", f"{FOLDER}/fleet_node", SETTINGS)
        ),
        files=(*sources, settings, url, File(EXPORTER_UNIT, render(template, **values, revision=digest))),
        units=(Unit(EXPORTER, digest),),
        only=(EXPORTER_UNIT, *SOURCES),
    )


def _python(folder: Path) -> list[Path]:
    return list(folder.glob("*.py"))


def expectations(run: RunView) -> bytes:
    """What the exporter has to know of the fleet (`fleet_exporter.settings`), as JSON. It holds no secret. Raises FleetError if a
    machine with workers has not answered."""
    fleet, plan = run.fleet, run.plan
    if silent := [host.name for host in fleet.hosts.values() if host.workers and host.name not in run.observed]:
        raise FleetError(f"the exporter has to know all workers, and {enumerate_briefly(silent)} did not answer")
    workers = [
        {
            "nodes": [process.node(instance.role, instance.number, run.observed[instance.host].hostname or instance.host)],
            "role": instance.role,
            "host": instance.host,
        }
        for instance in plan.instances
    ]
    content = {
        "lease": plan.lease,
        "master_name": fleet.master_name,
        "use_ssl": endpoint.broker(fleet, run.secrets, "monitor").use_ssl,
        "management": MANAGEMENT_PORT if fleet.rabbitmq and fleet.monitor_host in fleet.broker_hosts else None,
        "beats": len(fleet.beat_hosts) if fleet.transport != "amqp" else 0,
        "workers": workers,
        "queues": expected.queues(plan),
    }
    return f"{json.dumps(content, indent=1)}\n".encode()


def _prometheus(run: RunView, host: Host) -> State:
    monitor = run.fleet.monitor
    values = {"monitor": monitor, "nodes": targets(run.fleet), "address": run.fleet.monitor_address}
    configuration = File(FILES[0], render("etc/prometheus/prometheus.yml.j2", **values))
    rules = File(FILES[1], alerts.rules(monitor.alerts))
    flags = {
        "days": monitor.retention_days,
        "address": run.fleet.monitor_address,
        "memory_max": resolve(monitor.memory_max, run.observed[host.name].memory),
    }
    return _debian(PROMETHEUS, "prometheus", (configuration, rules), **flags)


def _alertmanager(run: RunView) -> State:
    monitor = run.fleet.monitor
    own = monitor.alertmanager_file
    content = Path(own).read_bytes() if own else alerts.alertmanager(run.secrets[monitor.webhook] if monitor.webhook else None)
    # It may hold secrets.
    configuration = File(FILES[2], content, mode=0o640, group="prometheus")
    return _debian(ALERTMANAGER, "prometheus-alertmanager", (configuration,), address=run.fleet.monitor_address)


def _grafana(run: RunView) -> State:
    """The dashboard, and what makes Grafana find it. Grafana is not ours."""
    if not run.fleet.monitor.grafana:
        return State()
    return State(directories=tuple(map(Directory, dashboard.FOLDERS)), files=dashboard.files(run.fleet))


def _debian(unit: str, package: str, files: tuple[File, ...], **values: object) -> State:
    """A service of Debian's, with our configuration and our flags."""
    folder = f"{UNIT_FOLDER}/{unit}.d"
    template = f"{folder.lstrip('/')}/fleet.conf.j2"
    digest = revision(render(template, **values, revision=""), *(file.content for file in files))
    return State(
        packages=(package,),
        directories=(Directory(folder),),
        files=(*files, File(f"{folder}/fleet.conf", render(template, **values, revision=digest))),
        units=(Unit(unit, digest),),
    )
