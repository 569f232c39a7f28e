"""NVIDIA devices: which of them a worker sees and may open, and the one service a machine that watches them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from fleet.plan.facts import MachineFacts
from fleet.plan.plan import Plan
from fleet.spec.fleet import Host
from fleet.spec.nvidia import Nvidia
from fleet.state.desired import Directory, File, State, Unit
from fleet.state.render import render

UNIT = "fleet-gpu.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
FOLDER = "/opt/fleet/gpu"
WATCH = f"{FOLDER}/gpu_watch.py"
_SOURCE = Path(__file__).parent.parent / "fleet_node" / "gpu_watch.py"
CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
"""Nodes that CUDA opens whatever device it works on."""


@dataclass(frozen=True)
class Visible:
    """What one worker sees. cuda: CUDA_VISIBLE_DEVICES. watched: how fleet-gpu.service knows its GPU. nodes: for DeviceAllow."""

    cuda: str
    watched: str
    nodes: tuple[str, ...] = ()


def visible(machine: MachineFacts, nvidia: Nvidia, number: int) -> Visible:
    """The device of instance `number` (from 1). Where there are more instances than devices, they share them in turn."""
    index = (number - 1) % max(1, machine.gpus)
    if nvidia.driver == "none":
        return Visible(str(index), "")
    devices = machine.gpu_report.devices if machine.gpu_report else ()
    if index >= len(devices):  # no driver yet, or machines that nobody asked
        return Visible(str(index), str(index), (f"/dev/nvidia{index}", *CONTROL))
    one = devices[index]
    # A MIG instance is opened through nodes that the driver makes as it is made.
    nodes = (f"/dev/nvidia{one.minor}", *CONTROL, *(("char-nvidia-caps",) if one.mig else ()))
    by_uuid = nvidia.devices_by == "uuid" or one.mig
    # Watched by UUID in any case: after a restart of the machine without one of its devices, the others' indices are other ones.
    return Visible(one.uuid if by_uuid else str(one.index), one.gpu or str(one.index), nodes)


def desired(plan: Plan, host: Host) -> State:
    """The watch, on a host that has devices of its own to watch; elsewhere there is none."""
    gpus = any(worker.workload == "gpu" for worker in host.workers.values())
    if not gpus or host.settings.nvidia.driver == "none":
        return State(only=(UNIT_PATH,))
    watch = _SOURCE.read_bytes()
    template = f"{UNIT_PATH.lstrip('/')}.j2"
    told = {"watch": WATCH, "compute_mode": host.settings.nvidia.compute_mode}
    revision = sha256(watch + render(template, **told, revision="")).hexdigest()[:12]
    return State(
        directories=(Directory(FOLDER),),
        files=(File(WATCH, watch), File(UNIT_PATH, render(template, **told, revision=revision))),
        units=(Unit(UNIT, revision),),
        only=(UNIT_PATH,),
    )
