"""`python3 gpu_watch.py`, as root: watches which NVIDIA devices of this machine can be used.

A device is unavailable if nvidia-smi does not list it any more, or if the kernel has reported an Xid after which it needs a
reset. It is back when nvidia-smi lists it again after it did not. Each change replaces /run/fleet-gpu/state.json, a DeviceState
(`fleet_node.protocol`). The file outlives this process, but no restart of the machine. A worker of an unavailable device stops
consuming (`fleet_node.worker.device`). `--prepare` loads what CUDA needs and has the device nodes made.

One process a machine, beside the workers: a worker may not read the kernel's log. This file is copied to the machine by itself
and runs on the system's Python, since it outlives releases: standard library alone, and nothing else of fleet_node.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path("/run/fleet-gpu")
KERNEL = "/dev/kmsg"
EVERY = 15.0
"""Seconds between two questions to nvidia-smi. An Xid counts at once."""
PATIENCE = 60.0
"""Seconds for nvidia-smi to answer: if it hangs, the driver does."""
NEEDS_RESET = {
    48: "a double bit error of its memory",
    64: "its memory has no spare rows left",
    79: "it has fallen off the bus",
    95: "an uncontained error of its memory",
    119: "its firmware does not answer",
    120: "its firmware has failed",
}
"""Xid → what it means, of those after which a device needs a reset (NVIDIA: XID Errors). Others are the fault of a task."""
XID = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)")
QUERY = ("nvidia-smi", "--query-gpu=index,uuid,pci.bus_id", "--format=csv,noheader")
MODES = {"default": "DEFAULT", "exclusive": "EXCLUSIVE_PROCESS"}


@dataclass(frozen=True)
class Device:
    """index: nvidia-smi's when this machine had all its devices. bus: "03:00", as far as an Xid and nvidia-smi agree."""

    index: int
    uuid: str
    bus: str


@dataclass
class Health:
    """The devices since this process started.

    known: UUID → device, of all that were ever listed. xids: bus → the last Xid that needs a reset. missing: UUIDs that are
    not listed now.
    """

    known: dict[str, Device] = field(default_factory=dict)
    xids: dict[str, int] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def listed(self, devices: Iterable[Device]) -> None:
        """Take in what nvidia-smi lists now; nothing if it failed."""
        present = {device.uuid: device for device in devices}
        for uuid in self.missing & present.keys():
            self.xids.pop(self.known[uuid].bus, None)  # it was reset
        for uuid, device in present.items():
            # Its first index stays: if a device before it is missing now, all after that have moved up.
            self.known.setdefault(uuid, device)
        self.missing = set(self.known) - set(present)

    def logged(self, line: str) -> bool:
        """Take in a line of the kernel's log. Returns whether it makes a device unavailable."""
        match = XID.search(line)
        if not match or int(match[2]) not in NEEDS_RESET:
            return False
        self.xids[bus(match[1])] = int(match[2])
        return True

    def unavailable(self, trouble: str) -> dict[str, str]:
        """UUID and index → why the device is not to be used. trouble: the error of nvidia-smi, if it failed."""
        reasons = {}
        for uuid, device in self.known.items():
            number = self.xids.get(device.bus)
            why = f"Xid {number}: {NEEDS_RESET[number]}" if number else ""
            if uuid in self.missing:
                missing = f"nvidia-smi says: {trouble}" if trouble else "nvidia-smi does not list it any more"
                why = f"{why}; {missing}" if why else missing
            if why:
                reasons[uuid] = reasons[str(device.index)] = why
        return reasons


def bus(text: str) -> str:
    """ "00000000:03:00.0" and "0000:03:00" → "03:00"."""
    return ":".join(text.partition(".")[0].split(":")[-2:]).lower()


def parse(output: str) -> list[Device]:
    """The devices in the output of QUERY. Lines that describe no device are left out."""
    rows = [[cell.strip() for cell in line.split(",")] for line in output.splitlines()]
    return [Device(int(row[0]), row[1], bus(row[2])) for row in rows if len(row) == 3 and row[0].isdecimal()]


def ask() -> tuple[list[Device], str]:
    """Ask nvidia-smi: (devices that answer, its error if it failed)."""
    try:
        process = subprocess.run(QUERY, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except OSError as error:
        return [], f"{error.strerror}"
    except subprocess.TimeoutExpired:
        return [], f"nothing in {PATIENCE:g} s"
    devices = parse(process.stdout)
    lines = [line.strip() for line in (process.stdout + process.stderr).splitlines() if line.strip()]
    return devices, lines[-1] if process.returncode and lines else ""


def write(health: Health, unavailable: Mapping[str, str], folder: Path = FOLDER) -> None:
    """Replace the state, whole."""
    new = folder / "state.json.new"
    known = sorted({name for device in health.known.values() for name in (device.uuid, str(device.index))})
    devices = [[device.index, device.uuid, device.bus] for device in health.known.values()]
    state = {"unavailable": unavailable, "known": known, "devices": devices, "xids": health.xids}
    # A worker of an earlier version reads "away". Delete that when none runs any more.
    new.write_text(json.dumps({**state, "away": unavailable}))
    new.chmod(0o644)
    new.rename(folder / "state.json")


def read(folder: Path = FOLDER) -> Health:
    """The state that an earlier process left: an unavailable device stays so until it is back."""
    try:
        state = json.loads((folder / "state.json").read_text())
        known = [Device(int(index), str(uuid), str(slot)) for index, uuid, slot in state["devices"]]
        return Health({device.uuid: device for device in known}, {str(slot): int(xid) for slot, xid in state["xids"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Health()


def prepare(mode: str) -> None:
    """Load modules, make device nodes, set the compute mode: as far as this machine has the tools."""
    for command in (("modprobe", "nvidia-uvm"), ("nvidia-modprobe", "-u", "-c", "0"), ("nvidia-smi", "-c", MODES[mode])):
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
            trouble = (process.stderr or process.stdout).strip() if process.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            trouble = str(error)
        if trouble:
            _say(4, f"{' '.join(command)}: {trouble.splitlines()[-1]}")


def _say(priority: int, line: str) -> None:
    sys.stdout.write(f"<{priority}>{line}\n")
    sys.stdout.flush()


def _follow(health: Health, wake: threading.Event) -> None:
    """Read the kernel's log from now on, for ever."""
    kernel = os.open(KERNEL, os.O_RDONLY)
    os.lseek(kernel, 0, os.SEEK_END)
    while True:
        try:
            line = os.read(kernel, 8192)  # one record
        except BrokenPipeError:
            continue  # the kernel has overwritten records that were not read yet
        if health.logged(line.decode(errors="replace")):
            wake.set()


def watch() -> None:
    """Watch the devices, for ever."""
    health, wake, before = read(), threading.Event(), dict[str, str]()
    threading.Thread(target=_follow, args=(health, wake), daemon=True).start()
    number_known = -1
    while True:
        devices, trouble = ask()
        health.listed(devices)
        unavailable = health.unavailable(trouble)
        if unavailable != before or len(health.known) != number_known:
            for device in health.known.values():
                why, was = unavailable.get(device.uuid), before.get(device.uuid)
                if why and not was:
                    _say(2, f"device {device.index} ({device.uuid}) is away: {why}")
                elif was and not why:
                    _say(5, f"device {device.index} ({device.uuid}) is back")
            write(health, unavailable)
            before, number_known = unavailable, len(health.known)
        wake.wait(EVERY)
        wake.clear()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--compute-mode", choices=tuple(MODES), default="default")
    parser.add_argument("--prepare", action="store_true", help="prepare the devices, and end")
    options = parser.parse_args()
    if options.prepare:
        prepare(options.compute_mode)
        return 0
    os.umask(0o022)
    watch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
