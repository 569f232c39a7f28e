"""NVIDIA devices as their driver lists them, and which CUDA a driver runs. Pure functions over what machines and files say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.spec.requirements import entries

SHELL = """for device in /sys/bus/pci/devices/*; do
  [ -r "$device/class" ] && read -r vendor <"$device/vendor" && read -r class <"$device/class" || continue
  case "$vendor $class" in '0x10de 0x0300'* | '0x10de 0x0302'*)
    printf 'pci\\t%s\\t%s\\n' "${device##*/}" "$(. /etc/os-release && echo "$ID $VERSION_ID")" ;; esac
done
for info in /proc/driver/nvidia/gpus/*/information; do
  [ -e "$info" ] && sed -n 's/^GPU UUID:[[:space:]]*/minor\\t/p; s/^Device Minor:[[:space:]]*/minor\\t/p' "$info"
done
if command -v nvidia-smi >/dev/null 2>&1; then
  timeout 60 nvidia-smi -L 2>&1 | sed 's/^/smi\\t/'
  timeout 60 nvidia-smi 2>/dev/null |
    sed -n 's/.*Driver Version: *\\([0-9.]*\\).*CUDA Version: *\\([0-9.]*\\).*/driver\\t\\1\\t\\2/p'
fi
"""
"""sh that says which devices there are, as lines of `kind<TAB>value`: on the bus (pci), by the driver (minor), by nvidia-smi
(smi, driver). A machine without a device prints nothing, and starts no nvidia-smi where there is none."""

KINDS = ("pci", "minor", "smi", "driver")
_GPU = re.compile(r"GPU (\d+): (.+) \(UUID: (GPU-[0-9a-fA-F-]+)\)")
_MIG = re.compile(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)")

CUDA_OF_DRIVER = {
    450: (11, 0),
    470: (11, 4),
    510: (11, 6),
    515: (11, 7),
    520: (11, 8),
    525: (12, 0),
    530: (12, 1),
    535: (12, 2),
    545: (12, 3),
    550: (12, 4),
    555: (12, 5),
    560: (12, 6),
    565: (12, 7),
    570: (12, 8),
    575: (12, 9),
    580: (13, 0),
}
"""The newest CUDA of a driver's branch (NVIDIA's CUDA Toolkit Release Notes, table 3; nvidia-smi shows the same): for a driver
that is not installed yet. One that is says so itself."""

DRIVER_OF = {"debian 12": "535", "debian 13": "550"}
"""The branch of the driver that a distribution's own packages bring."""

Version = tuple[int, int]


@dataclass(frozen=True)
class Device:
    """What CUDA can be pointed at: a whole GPU, or a MIG instance of one. index: nvidia-smi's, by place on the bus, of the GPU.

    minor: N of the /dev/nvidiaN that it is reached by. gpu: the UUID of the whole GPU.
    """

    index: int
    minor: int
    uuid: str
    name: str
    mig: bool = False
    gpu: str = ""


@dataclass(frozen=True)
class Gpus:
    """What a machine says of its devices. on_bus: NVIDIA devices that the bus has, with a driver or without.

    trouble: what nvidia-smi says where it lists none; "" where it was not asked. driver, cuda: e.g. "535.261.03", (12, 2), of
    what is installed. distribution: e.g. "debian 12".
    """

    devices: tuple[Device, ...] = ()
    on_bus: int = 0
    driver: str = ""
    cuda: Version | None = None
    trouble: str = ""
    distribution: str = ""

    @property
    def count(self) -> int:
        """Devices to work with: those that are listed; before there is a driver, those on the bus."""
        return len(self.devices) or self.on_bus


def parse(lines: Iterable[list[str]]) -> Gpus:
    """What SHELL printed, each line split at its tabs; other kinds are left out."""
    said: dict[str, list[list[str]]] = {kind: [] for kind in KINDS}
    for kind, *fields in lines:
        if kind in said and fields:
            said[kind].append(fields)
    flat = [fields[0] for fields in said["minor"]]
    minors = {uuid: int(minor) for uuid, minor in zip(flat[::2], flat[1::2], strict=False) if minor.isdecimal()}
    listed = [fields[0] for fields in said["smi"]]
    found = devices(listed, minors)
    driver, cuda = (said["driver"][0] + ["", ""])[:2] if said["driver"] else ("", "")
    trouble = (
        "" if found or not said["smi"] else next((line.strip() for line in listed if line.strip()), "nvidia-smi says nothing")
    )
    distribution = next((fields[1] for fields in said["pci"] if len(fields) > 1), "")
    return Gpus(found, len(said["pci"]), driver, version(cuda), trouble, distribution)


def devices(listed: Iterable[str], minors: dict[str, int]) -> tuple[Device, ...]:
    """`nvidia-smi -L` → devices. A GPU that is divided (MIG) counts as its instances. minors: by UUID, where the driver says."""
    found: list[Device] = []
    whole: Device | None = None
    for line in listed:
        if gpu := _GPU.fullmatch(line.rstrip()):
            index = int(gpu[1])
            whole = Device(index, minors.get(gpu[3], index), gpu[3], gpu[2], gpu=gpu[3])
            found.append(whole)
        elif whole and (mig := _MIG.fullmatch(line.rstrip())):
            if found[-1] is whole:
                found.pop()
            found.append(Device(whole.index, whole.minor, mig[2], f"{whole.name} MIG {mig[1]}", mig=True, gpu=whole.uuid))
    return tuple(found)


def version(text: str) -> Version | None:
    """ "12.4.127" → (12, 4); None where it is none."""
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def cuda_of_driver(driver: str) -> Version | None:
    """The newest CUDA of a driver such as "535.261.03", by its branch; None for one that is not known here."""
    branch = driver.partition(".")[0]
    known = [number for number in CUDA_OF_DRIVER if branch.isdecimal() and number <= int(branch)]
    # Branches between two of the table have what the lower one has; far beyond its end nothing is known.
    return CUDA_OF_DRIVER[max(known)] if known and int(branch) < max(CUDA_OF_DRIVER) + 5 else None


def cuda_of_requirements(text: str) -> Version | None:
    """The CUDA that pinned requirements bring: of NVIDIA's runtime wheel, or of a local version such as torch==2.5.1+cu121."""
    pinned = entries(text)
    for name in pinned:
        if re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", name) and (match := re.search(r"==\s*([\d.]+)", pinned[name])):
            return version(match[1])
    for line in pinned.values():
        if local := re.search(r"==[^\s+]+\+cu(\d\d)(\d+)\b", line):
            return int(local[1]), int(local[2])
    return None


def mismatch(wanted: Version, driver: str, has: Version) -> tuple[bool, str] | None:
    """(whether it fails for certain, what is wrong) where an app's CUDA is newer than its driver's; None where all is well.

    Within a major version an app runs on an older driver unless it needs what is new there, or compiles PTX (NVIDIA: CUDA
    Compatibility, Minor Version Compatibility).
    """
    if wanted <= has:
        return None
    asked, found = (".".join(map(str, one)) for one in (wanted, has))
    if wanted[0] > has[0]:
        return (
            True,
            f"the app brings CUDA {asked}, and driver {driver} runs up to {found}: pin wheels for {found}, or a newer driver",
        )
    return False, (
        f"the app brings CUDA {asked}, and driver {driver} is of {found}: what is compiled when it runs (PTX) fails; "
        f"wheels for {found} are sure"
    )
