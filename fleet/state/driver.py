"""The NVIDIA driver that a machine has: how to find out, and how to load it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fleet.errors import FleetError
from fleet.state import observed
from fleet.state.observed import ObservedMachine, Watched

PERSISTENCE = "nvidia-persistenced"
"""The service that keeps a device ready between tasks."""
LOAD = f"""set -u
nvidia-smi -L >/dev/null 2>&1 && exit 0
grep -q '^nouveau ' /proc/modules && modprobe -r nouveau 2>/dev/null
modprobe nvidia && modprobe nvidia-uvm
systemctl try-restart {PERSISTENCE} 2>/dev/null
nvidia-smi -L >/dev/null 2>&1 && exit 0
grep -q '^nouveau ' /proc/modules && echo 'nouveau holds the device' >&2
nvidia-smi -L 2>&1 | head -n 1 >&2
exit 1
"""
"""sh that loads the driver. If it does not work, the command prints why and exits with 1: the machine has to be restarted."""

UPDATE_INITRAMFS = "! command -v update-initramfs >/dev/null || update-initramfs -u"
"""sh for a new blacklist: the initramfs may hold nouveau."""


class DriverError(FleetError):
    """The settings ask for what cannot be. str() is what the user reads."""


@dataclass(frozen=True)
class Target:
    """A part of a mirror that apt reads: `main` of bookworm at a URI, by which file."""

    uri: str
    suite: str
    component: str
    origin: str
    signed_by: str
    file: str


@dataclass(frozen=True)
class ObservedDriver:
    """The NVIDIA driver of a machine. kernel: the one that runs, or, in a root that is not booted, the newest that it holds.

    headers: whether the mirror has that kernel's. targets: what apt reads. works: whether nvidia-smi lists devices.
    """

    machine: ObservedMachine
    kernel: str = ""
    booted: bool = False
    headers: bool = False
    works: bool = False
    targets: tuple[Target, ...] = field(default=())


def command(watched: Watched) -> str:
    """The probe of a driver, as one sh command. watched: its packages, files and unit."""
    more = r"""
kernel=$(uname -r)
booted=yes
[ -d "/lib/modules/$kernel" ] && [ -d /run/systemd/system ] || booted=no
[ -d "/lib/modules/$kernel" ] || kernel=$(ls /lib/modules 2>/dev/null | sort -V | tail -n 1)
printf 'kernel\t%s\t%s\n' "$kernel" "$booted"
apt-get indextargets 'Created-By: Packages' \
  --format 'target	$(REPO_URI)	$(RELEASE)	$(COMPONENT)	$(ORIGIN)	$(SIGNED_BY)|$(SOURCESENTRY)'
apt-cache show "linux-headers-$kernel" >/dev/null 2>&1 && printf 'headers\tyes\n'
nvidia-smi -L >/dev/null 2>&1 && printf 'works\tyes\n'
"""
    return more + observed.command(watched)


def parse(lines: Sequence[str]) -> ObservedDriver:
    """The driver that the output of `command` describes. Raises ValueError if the output is cut short."""
    single: dict[str, list[str]] = {}
    targets = []
    for line in lines:
        kind, *fields = line.split("\t")
        if kind == "target" and len(fields) == 5:
            signed, _, entry = fields[4].partition("|")
            uri, suite, component, origin, _ = fields
            file = entry.rpartition(":")[0]
            targets.append(Target(uri, suite, component, origin, signed if signed.startswith("/") else "", file))
        else:
            single.setdefault(kind, fields)
    kernel, booted = (*single.get("kernel", []), "", "")[:2]
    machine = observed.parse(line for line in lines if not line.startswith("target\t"))
    return ObservedDriver(machine, kernel, booted == "yes", "headers" in single, "works" in single, tuple(targets))
