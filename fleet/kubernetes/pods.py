"""The fleet as it is in a cluster: each pod is a machine with one worker. Pure, but for `survey`, which asks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from fleet.errors import FleetError
from fleet.inventory import kubectl
from fleet.inventory.kubectl import ACCESS, Access, KubectlError
from fleet.inventory.read import read_inventory
from fleet.kubernetes.checks import quantity
from fleet.kubernetes.cluster import behind_service
from fleet.kubernetes.pod import APP, CONTAINER, NODE_HOST
from fleet.kubernetes.scaling import EXPORTER
from fleet.observe.collect import Survey
from fleet.observe.machine import Machine, Unit
from fleet.plan import process
from fleet.plan.facts import MachineFacts
from fleet.plan.plan import Plan, resolved
from fleet.spec.fleet import Fleet, Inventory
from fleet.spec.groups import BEAT, BROKER, MONITOR, WORKER_SUFFIX
from fleet.spec.load import load_fleet

SELECTOR = "app.kubernetes.io/name=celery-worker"
ROOM = MachineFacts(cores=1024, memory=1 << 50, gpus=64)
"""Of a pod, which has its sizes already: none that is shown is computed by these."""
_IMAGE = (
    "ErrImagePull",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "ImageInspectError",
    "InvalidImageName",
    "SignatureValidationFailed",
)
_FAILED = (*_IMAGE, "CreateContainerConfigError", "CreateContainerError", "RunContainerError")


class Worker(NamedTuple):
    """Of a pod, as Kubernetes' API has it."""

    role: str
    slots: int
    pod: Any


class NoPodsError(FleetError):
    """No pod of the fleet is there, and there should be."""

    exit_code = 2


def access(kubeconfig: Path, namespace: str) -> Access:
    """By kubectl, through the exporter's pod."""
    command = ("kubectl", "--kubeconfig", str(kubeconfig), "--namespace", namespace)
    return Access(command, f"deployment/{EXPORTER}", f"{APP}/venv/bin/python")


def survey(file: Path, way: Access) -> Survey:
    """Ask the cluster. Raises KubectlError, SpecError and NoPodsError."""
    inventory = read_inventory(file)
    pods, now = kubectl.pods(way, SELECTOR), datetime.now(UTC)
    try:
        workers = {worker.pod["metadata"]["name"]: worker for worker in _workers(inventory, pods)}
        machines = {name: machine(worker.pod, worker.role, now, way) for name, worker in workers.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise KubectlError(f"kubectl get pods: it printed a pod that is none: {error!r}") from None
    if not workers and not all(_reaches_zero(inventory, role) for role in _roles(inventory)):
        roles = ", ".join(_roles(inventory))
        raise NoPodsError(f"no pod of {roles} is in the namespace: apply the manifests, or name another --namespace")
    there = as_inventory(inventory, workers, way)
    return Survey(there, plan_of(behind_service(load_fleet(there)), machines), machines)


def plan_of(fleet: Fleet, machines: Collection[str]) -> Plan:
    """A fleet of pods, each with one worker. Hosts that are none of these have none."""
    plan = resolved(fleet, dict.fromkeys(fleet.hosts, ROOM))
    sized = {
        host: {role: replace(each, instances=int(host in machines)) for role, each in workers.items()}
        for host, workers in plan.workers.items()
    }
    return replace(plan, workers=sized)


def as_inventory(inventory: Inventory, workers: Mapping[str, Worker], way: Access) -> Inventory:
    """The inventory with pods in place of machines. A role that has none now keeps its first host, which then has no worker.
    workers: by the pod's name."""
    hosts: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {}
    for host in inventory.groups.get(BROKER, ()):
        hosts[host] = {**inventory.hosts[host], ACCESS: way}
        groups.setdefault(BROKER, []).append(host)
    for pod, worker in workers.items():
        first, name = inventory.hosts[inventory.groups[worker.role][0]], f"{worker.role}{WORKER_SUFFIX}"
        settings = {**first[name], "instances": 1, "concurrency": worker.slots}
        hosts[pod] = {**first, name: settings, ACCESS: way}
        groups.setdefault(worker.role, []).append(pod)
    for role in _roles(inventory):
        if role not in groups:
            host, name = inventory.groups[role][0], f"{role}{WORKER_SUFFIX}"
            data = inventory.hosts[host]
            least = {"min_consumers": 0} if _reaches_zero(inventory, role) else {}
            hosts[host] = {**data, name: {**data[name], "concurrency": 1, **least}, ACCESS: way}
            groups[role] = [host]
    for data in hosts.values():
        data.pop("records_host", None)  # a cluster has no such machine
    return replace(inventory, hosts=hosts, groups={name: tuple(names) for name, names in groups.items()})


def machine(pod: Any, role: str, now: datetime, way: Access) -> Machine:
    """What a pod says of its worker."""
    unit = f"celery-{role}@1.service"
    return Machine(pod["metadata"]["name"], ROOM, units={unit: _unit(pod, now)}, kubectl=shlex.join(way.command))


def _roles(inventory: Inventory) -> list[str]:
    return [group for group in inventory.groups if group not in (BEAT, BROKER, MONITOR)]


def _reaches_zero(inventory: Inventory, role: str) -> bool:
    """Whether a role may have no pod at all."""
    settings = inventory.hosts[inventory.groups[role][0]].get(f"{role}{WORKER_SUFFIX}", {})
    scale = (settings.get("kubernetes") or {}).get("scale") or {}
    return bool(scale.get("min") == 0)


def _workers(inventory: Inventory, pods: Iterable[Any]) -> Iterator[Worker]:
    """Of roles of the inventory. One that has ended, as an evicted one, is replaced by another."""
    roles = _roles(inventory)
    for pod in pods:
        if pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
            continue
        container = _container(pod)
        words = container.get("args", ())
        node = next((word.partition("=")[2] for word in words if word.startswith("--hostname=")), "")
        parts = process.parse_node(node.replace(NODE_HOST, "pod"))
        slots = next((value for flag, value in pairwise(words) if flag == "-c"), "")
        if parts and parts.role in roles and slots.isdecimal() and int(slots):
            yield Worker(parts.role, int(slots), pod)


def _container(pod: Any) -> Any:
    return next((each for each in pod["spec"]["containers"] if each["name"] == CONTAINER), {})


def _unit(pod: Any, now: datetime) -> Unit:
    """As systemd would say it."""
    container = _container(pod)
    env = {each["name"]: each.get("value") for each in container.get("env", ())}
    common: dict[str, Any] = {
        "memory_max": _bytes(container.get("resources", {}).get("limits", {}).get("memory")),
        "release": env.get("FLEET_RELEASE"),
        "revision": env.get("FLEET_REVISION"),
    }
    status = next((each for each in pod.get("status", {}).get("containerStatuses", ()) if each["name"] == CONTAINER), None)
    if pod["metadata"].get("deletionTimestamp"):
        return Unit(active="deactivating", **common)
    if status is None:
        return Unit(active="failed" if (why := _unscheduled(pod)) else "activating", result=why, **common)
    common["restarts"] = status.get("restartCount", 0)
    state, last = status.get("state", {}), status.get("lastState", {}).get("terminated", {})
    if running := state.get("running"):
        active = "active" if status.get("started", True) else "activating"
        return Unit(active=active, up=_since(running.get("startedAt"), now) if active == "active" else None, **common)
    if ended := state.get("terminated"):
        return Unit(active="failed", result=_ending(ended), **common)
    reason = state.get("waiting", {}).get("reason", "")
    if reason in _FAILED:
        return Unit(active="failed", result=f"{reason}: {state['waiting'].get('message', '')}".strip(": "), **common)
    if reason == "CrashLoopBackOff":
        return Unit(active="failed", sub="auto-restart", result=_ending(last), **common)
    return Unit(active="activating", **common)


def _bytes(limit: object) -> int | None:
    """Of a quantity; None if there is none that can be read."""
    try:
        return int(quantity(limit))
    except ValueError:
        return None


def _ending(terminated: Mapping[str, Any]) -> str:
    """How a container ended, in systemd's words where it has one."""
    if terminated.get("reason") == "OOMKilled":
        return "oom-kill"
    code = terminated.get("exitCode")
    return "success" if code == 0 else "signal" if isinstance(code, int) and code > 128 else "exit-code"


def _unscheduled(pod: Any) -> str:
    """Why no node takes a pod; empty if one does, or the scheduler has not looked."""
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node takes it: {condition.get('message') or condition.get('reason', '')}"
    return ""


def _since(text: str | None, now: datetime) -> float | None:
    if not text or not re.fullmatch(r"[0-9T:.+-]+Z?", text):
        return None
    try:
        return max(0.0, (now - datetime.fromisoformat(text)).total_seconds())
    except ValueError:
        return None
