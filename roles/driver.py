"""NVIDIA's driver from Debian packages: what a machine has of it, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet.spec import openpgp
from fleet.spec.nvidia import Nvidia, Repository
from fleet.state import observed
from fleet.state.desired import File, State, Unit
from fleet.state.observed import ObservedMachine

SOURCES = "/etc/apt/sources.list.d/fleet-nvidia.sources"
KEY = "/etc/apt/keyrings/fleet-nvidia.asc"
BLACKLIST = "/etc/modprobe.d/fleet-nvidia.conf"
NON_FREE = ("contrib", "non-free", "non-free-firmware")
TOOLKIT = "nvidia-cuda-toolkit"
PERSISTENCE = "nvidia-persistenced"
LOAD = f"""set -u
said() {{ nvidia-smi -L 2>&1 | head -n 1; }}
nvidia-smi -L >/dev/null 2>&1 && exit 0
grep -q '^nouveau ' /proc/modules && modprobe -r nouveau 2>/dev/null
modprobe nvidia && modprobe nvidia-uvm
systemctl try-restart {PERSISTENCE} 2>/dev/null
nvidia-smi -L >/dev/null 2>&1 && exit 0
grep -q '^nouveau ' /proc/modules && echo 'nouveau holds the device' >&2
echo "$(said)" >&2
exit 1
"""
"""sh that has the driver work, or says why it does not and exits 1: then the machine has to be restarted."""

UPDATE_INITRAMFS = "! command -v update-initramfs >/dev/null || update-initramfs -u"
"""sh for when the blacklist is new: what boots may hold nouveau."""


class DriverError(Exception):
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
class Seen:
    """What a machine has. kernel: the one that runs, or, in a root that is not booted, the newest that it holds.

    headers: whether the mirror has that kernel's. targets: what apt reads. works: whether nvidia-smi lists devices.
    """

    machine: ObservedMachine
    kernel: str = ""
    booted: bool = False
    headers: bool = False
    works: bool = False
    targets: tuple[Target, ...] = field(default=())


def command(nvidia: Nvidia) -> str:
    """The probe for this, as one sh command."""
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
    return more + observed.command((*nvidia.packages, TOOLKIT, "linux-headers-*"), ())


def parse(lines: Sequence[str]) -> Seen:
    """What its output says. Raises ValueError where it is cut short."""
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
    return Seen(machine, kernel, booted == "yes", "headers" in single, "works" in single, tuple(targets))


def sources(nvidia: Nvidia, seen: Seen) -> State:
    """What has to be there before the packages: that nouveau keeps away, and where they come from (the mirror that the machine
    uses already, with the components that it leaves out; or a vendor's repository). Raises DriverError."""
    blacklist = b"# A device that nouveau holds is none of nvidia's.\nblacklist nouveau\noptions nouveau modeset=0\n"
    return State(files=(File(BLACKLIST, blacklist),)) + (
        _of_vendor(nvidia.repository) if nvidia.repository is not None else _of_debian(seen)
    )


def _of_debian(seen: Seen) -> State:
    ours = [one for one in seen.targets if one.origin == "Debian" and one.file != SOURCES]
    have = {(one.uri, one.suite, one.component) for one in ours}
    blocks = []
    for main in dict.fromkeys(one for one in ours if one.component == "main"):
        missing = [name for name in NON_FREE if (main.uri, main.suite, name) not in have]
        if missing:
            signed = f"Signed-By: {main.signed_by}\n" if main.signed_by else ""
            blocks.append(f"Types: deb\nURIs: {main.uri}\nSuites: {main.suite}\nComponents: {' '.join(missing)}\n{signed}")
    if not ours:
        raise DriverError(
            "nvidia.driver: apt reads no mirror of Debian's on this machine; run apt-get update there, or name a repository"
        )
    return State(files=(File(SOURCES, "\n".join(blocks).encode()),)) if blocks else State(only=(SOURCES,))


def _of_vendor(repository: Repository) -> State:
    if wrong := openpgp.mistake(repository.key, repository.fingerprint):
        raise DriverError(f"nvidia.repository.{wrong[0]}: {wrong[1]}")
    components = f"Components: {' '.join(repository.components)}\n" if repository.components else ""
    block = f"Types: deb\nURIs: {repository.uri}\nSuites: {repository.suite}\n{components}Signed-By: {KEY}\n"
    return State(files=(File(KEY, Path(repository.key).read_bytes()), File(SOURCES, block.encode())))


def packages(nvidia: Nvidia, seen: Seen) -> State:
    """The driver itself, for the kernel that runs and, by the package of its kind, for those that come. Raises DriverError."""
    if not seen.kernel:
        raise DriverError("nvidia.driver: this machine has no kernel to build a module for")
    kind = flavour(seen.kernel)
    headers = ((f"linux-headers-{seen.kernel}",) if seen.headers else ()) + ((f"linux-headers-{kind}",) if kind else ())
    have = [one for one in seen.machine.packages if one == f"linux-headers-{seen.kernel}"]
    if not (seen.headers or have):
        raise DriverError(
            f"nvidia.driver: the mirror has no linux-headers-{seen.kernel} any more, so no module can be built for the kernel "
            "that runs: bring the machine up to date (apt-get full-upgrade) and restart it first"
        )
    toolkit = (TOOLKIT,) if nvidia.cuda_toolkit == "debian" else ()
    persists = seen.booted and PERSISTENCE in nvidia.packages
    return State(
        packages=(*headers, *nvidia.packages, *toolkit),
        units=(Unit(f"{PERSISTENCE}.service"),) if persists and seen.works else (),
    )


def flavour(kernel: str) -> str:
    """The kind of a Debian kernel, for which there is a meta-package: "6.1.0-56-cloud-amd64" → "cloud-amd64"; else empty."""
    match = re.fullmatch(r"\d[\d.]*(?:[+~][\w.+~]*)?-\d+(?:\.bpo\.\d+)?-([a-z0-9-]+)", kernel) or re.fullmatch(
        r"\d[\d.]*\+deb\d+(?:\+\d+)?-([a-z0-9-]+)", kernel
    )
    return match[1] if match else ""
