"""A fleet as units and as manifests."""

from __future__ import annotations

import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

from fleet.engine.run import Run
from fleet.kubernetes import bundle
from fleet.kubernetes.cluster import Cluster, on_kubernetes
from fleet.plan.facts import MachineFacts
from fleet.plan.plan import Plan
from fleet.spec.secrets import BROKER_ADMIN, BROKER_MONITOR, BROKER_WORKER
from fleet.state.observed import ObservedMachine
from roles import worker
from tests.unit.fleet_support import GB, fleet_of, plan_of

HIDDEN = {BROKER_WORKER: "hidden-worker", BROKER_MONITOR: "hidden-monitor", BROKER_ADMIN: "hidden-admin", "API_KEY": "hidden-key"}
MACHINE = MachineFacts(cores=8, memory=16 * GB, gpus=2)
AUTHORITY = b"-----BEGIN CERTIFICATE-----"
IMAGE = "registry.example.com/shop:1.2"
WEB: dict[str, Any] = {"queues": ["default", "priority"], "workload": "io"}
BATCH: dict[str, Any] = {"queues": ["batch"], "instances": 1}
GPU: dict[str, Any] = {"queues": ["ml"], "workload": "gpu"}
ROLES = {"web": WEB, "batch": BATCH, "gpu": GPU}


def cluster_of(roles: dict[str, Any] | None = None, minor: int = 36, image: str = IMAGE, **more: Any) -> Cluster:
    """A fleet with a Redis of its own, two machines a role, in the namespace shop."""
    plan = plan_of(fleet_of(roles or ROLES, **more), MACHINE)
    return Cluster(on_kubernetes(plan), HIDDEN, image, minor, "shop", AUTHORITY)


def written(cluster: Cluster, folder: Path, overlay: str = "prod") -> Path:
    """The overlay's folder, with all files."""
    for path, text in bundle.files(cluster, overlay).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder / "overlays" / overlay


def of_kind(cluster: Cluster, kind: str, role: str) -> Any:
    """The object of a kind for a role."""
    return next(each for each in bundle.objects(cluster)[cluster.labels[role]] if each["kind"] == kind)


def unit_of(plan: Plan, role: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """(directive → its values, environment) of the role's first instance on a machine."""
    instance = next(each for each in plan.instances if each.role == role)
    observed = {name: ObservedMachine(python="3.11") for name in plan.fleet.hosts}
    run = Run(plan.fleet, HIDDEN, (worker,), observed, plan)
    files = {file.path: file.content.decode() for file in worker.desired(run, plan.fleet.hosts[instance.host]).files}
    directives: dict[str, list[str]] = defaultdict(list)
    for line in files[f"/etc/systemd/system/{instance.unit}"].splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            directives[name].append(value)
    words = [word for line in directives["Environment"] for word in line.split()]
    words += [shlex.split(line)[0] for line in files[f"/etc/fleet/{role}.env"].splitlines()]
    return directives, dict(word.split("=", 1) for word in words)
