"""The balancer on the monitor's host: an option. It runs from the exporter's folder, with the worker's user: it tells workers."""

from __future__ import annotations

import json
from pathlib import Path

from fleet.capacity.balance.terms import as_plain
from fleet.capacity.lending import terms_of
from fleet.plan import process
from fleet.plan.instance import Instance
from fleet.spec import endpoint
from fleet.state.desired import Directory, File, State, Unit, revision
from fleet.state.paths import UNITS as UNIT_FOLDER
from fleet.state.render import render
from fleet.state.role import RunView
from roles import broker_client

UNIT = "fleet-balance.service"
UNIT_PATH = f"{UNIT_FOLDER}/{UNIT}"
SETTINGS = "/etc/fleet-balance"
TERMS, URL = f"{SETTINGS}/terms.json", f"{SETTINGS}/broker-url"
PACKAGES = ("python3-kombu",)
_ROOT = Path(__file__).parent.parent
_PARTS = ("fleet_balancer", "fleet/capacity/balance")
_PARENTS = ("fleet/__init__.py", "fleet/capacity/__init__.py")


def folders(folder: str) -> tuple[str, ...]:
    """Those of its sources. folder: the exporter's."""
    return tuple(f"{folder}/{part}" for part in ("fleet_balancer", "fleet", "fleet/capacity", "fleet/capacity/balance"))


def sources(folder: str) -> tuple[str, ...]:
    """Patterns of its sources."""
    return tuple(f"{part}/*.py" for part in folders(folder))


def paths(folder: str) -> tuple[str, ...]:
    """All that it has on a machine."""
    return (*folders(folder), *sources(folder), SETTINGS, TERMS, URL, UNIT_PATH)


def desired(run: RunView, folder: str, told: File) -> State:
    """folder: the exporter's; told: what the exporter is told of the fleet."""
    only = (UNIT_PATH, *sources(folder))
    if not run.fleet.monitor.balance:
        return State(only=(*only, TERMS, URL))
    code = [
        *(File(f"{folder}/{name}", (_ROOT / name).read_bytes()) for name in _PARENTS),
        *(
            File(f"{folder}/{part}/{file.name}", file.read_bytes())
            for part in _PARTS
            for file in sorted((_ROOT / part).glob("*.py"))
        ),
    ]

    def nodes(instance: Instance) -> list[str]:
        return [process.node(instance.role, instance.number, run.observed[instance.host].hostname or instance.host)]

    terms = File(TERMS, f"{json.dumps(as_plain(terms_of(run.plan, nodes)), indent=1)}\n".encode())
    url = File(URL, f"{endpoint.broker(run.fleet, run.secrets).url}\n".encode(), mode=0o600)
    template = f"{UNIT_PATH.lstrip('/')}.j2"
    values = {"folder": folder, "settings": told.path, "terms": TERMS, "url": URL, "group": broker_client.key_group(run)}
    digest = revision(render(template, **values, revision=""), *(file.content for file in (*code, told, terms, url)))
    return State(
        packages=PACKAGES,
        directories=tuple(map(Directory, (*folders(folder), SETTINGS))),
        files=(*code, terms, url, File(UNIT_PATH, render(template, **values, revision=digest))),
        units=(Unit(UNIT, digest),),
        only=only,
    )
