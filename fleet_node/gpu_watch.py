"""`python3 gpu_watch.py`, as root: which NVIDIA devices of this machine can be used, all the time.

A device is away when nvidia-smi does not list it any more, or when the kernel has said (an Xid) that it needs a reset; it is back
when nvidia-smi lists it again after it did not. /run/fleet-gpu/state.json is replaced with each change, and outlives this process
but no restart of the machine:
    {"away": {UUID, and index as text: why}, "known": [UUIDs, and indices], "devices": [[index, UUID, bus]], "xids": {bus: Xid}}
A worker of such a device stops consuming (`fleet_node.gpu`). `prepare` loads what CUDA needs and has the device nodes made.

One for a machine, beside the workers and not in them: a worker may not read the kernel's log. Standard library alone, on the
system's own Python, since it outlives releases.
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
"""Seconds between two looks. An Xid is seen at once."""
PATIENCE = 60.0
"""Seconds for nvidia-smi to answer: one that hangs has a driver that does."""
NEEDS_RESET = {
    48: "a double bit error of its memory",
    64: "its memory has no spare rows left",
    79: "it has fallen off the bus",
    95: "an uncontained error of its memory",
    119: "its firmware does not answer",
    120: "its firmware has failed",
}
"""Xid → what it means, of those after which a device needs a reset (NVIDIA: XID Errors). Others are a task's own fault."""
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
    """What is known of the devices since this started. known: all that were ever listed."""

    known: dict[str, Device] = field(default_factory=dict)
    xids: dict[str, int] = field(default_factory=dict)  # by bus
    gone: set[str] = field(default_factory=set)  # UUIDs that are not listed now

    def listed(self, devices: Iterable[Device]) -> None:
        """What nvidia-smi lists now; nothing where it fails."""
        found = {one.uuid: one for one in devices}
        for uuid in self.gone & found.keys():
            self.xids.pop(self.known[uuid].bus, None)  # it was reset
        for uuid, one in found.items():
            # A lower one may be away now, and have moved all after it.
            self.known.setdefault(uuid, one)
        self.gone = set(self.known) - set(found)

    def said(self, line: str) -> bool:
        """A line of the kernel's. Whether it takes a device away."""
        match = XID.search(line)
        if not match or int(match[2]) not in NEEDS_RESET:
            return False
        self.xids[bus(match[1])] = int(match[2])
        return True

    def away(self, trouble: str) -> dict[str, str]:
        """UUID and index → why it is not to be used. trouble: what nvidia-smi said where it failed."""
        found = {}
        for uuid, one in self.known.items():
            number = self.xids.get(one.bus)
            why = f"Xid {number}: {NEEDS_RESET[number]}" if number else ""
            if uuid in self.gone:
                said = f"nvidia-smi says: {trouble}" if trouble else "nvidia-smi does not list it any more"
                why = f"{why}; {said}" if why else said
            if why:
                found[uuid] = found[str(one.index)] = why
        return found


def bus(text: str) -> str:
    """ "00000000:03:00.0" and "0000:03:00" → "03:00"."""
    return ":".join(text.partition(".")[0].split(":")[-2:]).lower()


def parse(output: str) -> list[Device]:
    """What QUERY printed; lines that are no device are left out."""
    rows = [[cell.strip() for cell in line.split(",")] for line in output.splitlines()]
    return [Device(int(row[0]), row[1], bus(row[2])) for row in rows if len(row) == 3 and row[0].isdecimal()]


def ask() -> tuple[list[Device], str]:
    """(devices that answer, what nvidia-smi said where it failed)."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except OSError as error:
        return [], f"{error.strerror}"
    except subprocess.TimeoutExpired:
        return [], f"nothing in {PATIENCE:g} s"
    devices = parse(done.stdout)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return devices, lines[-1] if done.returncode and lines else ""


def write(health: Health, away: Mapping[str, str], folder: Path = FOLDER) -> None:
    """Replace the state, whole."""
    new = folder / "state.json.new"
    known = sorted({name for one in health.known.values() for name in (one.uuid, str(one.index))})
    devices = [[one.index, one.uuid, one.bus] for one in health.known.values()]
    new.write_text(json.dumps({"away": away, "known": known, "devices": devices, "xids": health.xids}))
    new.chmod(0o644)
    new.rename(folder / "state.json")


def read(folder: Path = FOLDER) -> Health:
    """What was known before this process: a device that is away stays so until it is seen to be back."""
    try:
        told = json.loads((folder / "state.json").read_text())
        known = [Device(int(index), str(uuid), str(place)) for index, uuid, place in told["devices"]]
        return Health({one.uuid: one for one in known}, {str(place): int(number) for place, number in told["xids"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Health()


def prepare(mode: str) -> None:
    """Modules, device nodes and compute mode, as far as this machine has what they need."""
    for command in (("modprobe", "nvidia-uvm"), ("nvidia-modprobe", "-u", "-c", "0"), ("nvidia-smi", "-c", MODES[mode])):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
            said = (done.stderr or done.stdout).strip() if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
        if said:
            _say(4, f"{' '.join(command)}: {said.splitlines()[-1]}")


def _say(priority: int, line: str) -> None:
    sys.stdout.write(f"<{priority}>{line}\n")
    sys.stdout.flush()


def _follow(health: Health, wake: threading.Event) -> None:
    """Read what the kernel says from now on, for ever."""
    kernel = os.open(KERNEL, os.O_RDONLY)
    os.lseek(kernel, 0, os.SEEK_END)
    while True:
        try:
            line = os.read(kernel, 8192)  # one record
        except BrokenPipeError:
            continue  # some were overwritten before we came to them
        if health.said(line.decode(errors="replace")):
            wake.set()


def watch() -> None:
    """For ever."""
    health, wake, before = read(), threading.Event(), dict[str, str]()
    threading.Thread(target=_follow, args=(health, wake), daemon=True).start()
    number_known = -1
    while True:
        devices, trouble = ask()
        health.listed(devices)
        away = health.away(trouble)
        if away != before or len(health.known) != number_known:
            for one in health.known.values():
                why, was = away.get(one.uuid), before.get(one.uuid)
                if why and not was:
                    _say(2, f"device {one.index} ({one.uuid}) is away: {why}")
                elif was and not why:
                    _say(5, f"device {one.index} ({one.uuid}) is back")
            write(health, away)
            before, number_known = away, len(health.known)
        wake.wait(EVERY)
        wake.clear()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--compute-mode", choices=tuple(MODES), default="default")
    parser.add_argument("--prepare", action="store_true", help="that alone, and end")
    options = parser.parse_args()
    if options.prepare:
        prepare(options.compute_mode)
        return 0
    os.umask(0o022)
    watch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
