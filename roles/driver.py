"""NVIDIA's driver from Debian packages: what is missing of it on a machine."""

from __future__ import annotations

import re
from pathlib import Path

from fleet.spec import openpgp
from fleet.spec.fleet import Host
from fleet.spec.nvidia import Nvidia, Repository
from fleet.state.desired import File, State, Unit
from fleet.state.driver import PERSISTENCE, DriverError, ObservedDriver
from fleet.state.role import RunView

SOURCES = "/etc/apt/sources.list.d/fleet-nvidia.sources"
KEY = "/etc/apt/keyrings/fleet-nvidia.asc"
BLACKLIST = "/etc/modprobe.d/fleet-nvidia.conf"
NON_FREE = ("contrib", "non-free", "non-free-firmware")
TOOLKIT = "nvidia-cuda-toolkit"

PACKAGES = ("*",)
"""The settings name them: see `packages_of`."""
PATHS = (SOURCES, KEY, BLACKLIST)
UNITS = (f"{PERSISTENCE}.service",)


def packages_of(nvidia: Nvidia) -> tuple[str, ...]:
    """What the probe has to look for: names, or patterns of names."""
    return (*nvidia.packages, TOOLKIT, "linux-headers-*")


def desired(run: RunView, host: Host) -> State:
    """The whole driver, on a host whose settings ask for it. Raises DriverError."""
    driver = (run.drivers or {}).get(host.name)
    return sources(host.settings.nvidia, driver) + packages(host.settings.nvidia, driver) if driver else State()


def sources(nvidia: Nvidia, observed: ObservedDriver) -> State:
    """What the packages need first: a blacklist for nouveau, and a package source (the mirror that the machine uses already, with
    the components that it leaves out; or a vendor's repository). Raises DriverError."""
    blacklist = b"# A device that nouveau holds is none of nvidia's.\nblacklist nouveau\noptions nouveau modeset=0\n"
    return State(files=(File(BLACKLIST, blacklist),)) + (
        _of_vendor(nvidia.repository) if nvidia.repository is not None else _of_debian(observed)
    )


def _of_debian(observed: ObservedDriver) -> State:
    targets = [target for target in observed.targets if target.origin == "Debian" and target.file != SOURCES]
    present = {(target.uri, target.suite, target.component) for target in targets}
    blocks = []
    for main in dict.fromkeys(target for target in targets if target.component == "main"):
        missing = [name for name in NON_FREE if (main.uri, main.suite, name) not in present]
        if missing:
            signed = f"Signed-By: {main.signed_by}\n" if main.signed_by else ""
            blocks.append(f"Types: deb\nURIs: {main.uri}\nSuites: {main.suite}\nComponents: {' '.join(missing)}\n{signed}")
    if not targets:
        raise DriverError(
            "nvidia.driver: apt reads no mirror of Debian's on this machine; run apt-get update there, or name a repository"
        )
    return State(files=(File(SOURCES, "\n".join(blocks).encode()),)) if blocks else State(only=(SOURCES,))


def _of_vendor(repository: Repository) -> State:
    if mistake := openpgp.mistake(repository.key, repository.fingerprint):
        raise DriverError(f"nvidia.repository.{mistake[0]}: {mistake[1]}")
    components = f"Components: {' '.join(repository.components)}\n" if repository.components else ""
    block = f"Types: deb\nURIs: {repository.uri}\nSuites: {repository.suite}\n{components}Signed-By: {KEY}\n"
    return State(files=(File(KEY, Path(repository.key).read_bytes()), File(SOURCES, block.encode())))


def packages(nvidia: Nvidia, observed: ObservedDriver) -> State:
    """The driver itself, for the kernel that runs and, by the package of its flavour, for later ones. Raises DriverError."""
    if not observed.kernel:
        raise DriverError("nvidia.driver: this machine has no kernel to build a module for")
    name = flavour(observed.kernel)
    headers = ((f"linux-headers-{observed.kernel}",) if observed.headers else ()) + ((f"linux-headers-{name}",) if name else ())
    if not observed.headers and f"linux-headers-{observed.kernel}" not in observed.machine.packages:
        raise DriverError(
            f"nvidia.driver: the mirror has no linux-headers-{observed.kernel} any more, so no module can be built for the "
            "kernel that runs: bring the machine up to date (apt-get full-upgrade) and restart it first"
        )
    toolkit = (TOOLKIT,) if nvidia.cuda_toolkit == "debian" else ()
    persists = observed.booted and PERSISTENCE in nvidia.packages
    return State(
        packages=(*headers, *nvidia.packages, *toolkit),
        units=(Unit(f"{PERSISTENCE}.service"),) if persists and observed.works else (),
    )


def flavour(kernel: str) -> str:
    """The flavour of a Debian kernel, which has a meta-package: "6.1.0-56-cloud-amd64" → "cloud-amd64"; else empty."""
    match = re.fullmatch(r"\d[\d.]*(?:[+~][\w.+~]*)?-\d+(?:\.bpo\.\d+)?-([a-z0-9-]+)", kernel) or re.fullmatch(
        r"\d[\d.]*\+deb\d+(?:\+\d+)?-([a-z0-9-]+)", kernel
    )
    return match[1] if match else ""
