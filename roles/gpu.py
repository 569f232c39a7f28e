"""NVIDIA devices: which of them a worker sees and may open, and the one service a machine that watches them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.plan.facts import MachineFacts
from fleet.spec.fleet import Host
from fleet.spec.nvidia import Nvidia
from fleet.state.desired import Directory, File, State, Unit, revision
from fleet.state.render import render
from fleet.state.role import RunView

UNIT = "fleet-gpu.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
FOLDER = "/opt/fleet/gpu"
WATCH = f"{FOLDER}/gpu_watch.py"
_SOURCE = Path(__file__).parent.parent / "fleet_node" / "gpu_watch.py"
PACKAGES = ()
PATHS = (UNIT_PATH, FOLDER, WATCH)
UNITS = (UNIT,)
CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
"""Nodes that CUDA opens whatever device it works on."""


@dataclass(frozen=True)
class Visible:
    """What one worker may use. cuda: CUDA_VISIBLE_DEVICES. watched: its GPU as fleet-gpu.service knows it. nodes: DeviceAllow."""

    cuda: str
    watched: str
    nodes: tuple[str, ...] = ()


def visible(machine: MachineFacts, nvidia: Nvidia, number: int) -> Visible:
    """The device of instance `number` (from 1). If there are more instances than devices, they share them in turn."""
    index = (number - 1) % max(1, machine.gpus)
    if nvidia.driver == "none":
        return Visible(str(index), "")
    devices = machine.gpu_report.devices if machine.gpu_report else ()
    if index >= len(devices):  # no driver yet, or machines that nobody asked
        return Visible(str(index), str(index), (f"/dev/nvidia{index}", *CONTROL))
    device = devices[index]
    # A MIG instance is opened through nodes that the driver makes as it is made.
    nodes = (f"/dev/nvidia{device.minor}", *CONTROL, *(("char-nvidia-caps",) if device.mig else ()))
    by_uuid = nvidia.devices_by == "uuid" or device.mig
    # Watched by UUID in any case: after a restart of the machine without one of its devices, the others' indices are other ones.
    return Visible(device.uuid if by_uuid else str(device.index), device.gpu or str(device.index), nodes)


def desired(run: RunView, host: Host) -> State:
    """The watch, on a host that has devices of its own to watch; elsewhere there is ndevice."""
    gpus = any(worker.workload == "gpu" for worker in host.workers.values())
    if not gpus or host.settings.nvidia.driver == "none":
        return State(only=(UNIT_PATH,))
    watch = _SOURCE.read_bytes()
    template = f"{UNIT_PATH.lstrip('/')}.j2"
    values = {"watch": WATCH, "compute_mode": host.settings.nvidia.compute_mode}
    digest = revision(watch, render(template, **values, revision=""))
    return State(
        directories=(Directory(FOLDER),),
        files=(File(WATCH, watch), File(UNIT_PATH, render(template, **values, revision=digest))),
        units=(Unit(UNIT, digest),),
        only=(UNIT_PATH,),
    )
