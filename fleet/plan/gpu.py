"""NVIDIA devices as their driver lists them, and the CUDA versions that a driver runs. Pure functions over output and files."""

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
    sed -n 's/.*Driver Version: *\\([0-9.]*\\).*CUDA Version: *\\([0-9.]*\\).*/driver\\t\\1\\t\\2/p
      s/.*MiB *\\/ *\\([0-9]*\\)MiB.*/vram\\t\\1/p'
fi
"""
"""Shell script that lists the devices as lines of `kind<TAB>value`. Kinds: on the PCI bus (pci), known to the driver (minor),
listed by nvidia-smi (smi, driver, vram: MiB of each device). A machine without devices prints nothing; nvidia-smi runs only if it
is installed."""

KINDS = ("pci", "minor", "smi", "driver", "vram")
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
"""Driver branch → the newest CUDA that it runs (NVIDIA, CUDA Toolkit Release Notes, table 3; nvidia-smi shows the same). The
table serves drivers that are not installed yet; an installed driver reports its own CUDA version."""

DRIVER_OF = {"debian 12": "535", "debian 13": "550"}
"""Distribution → the driver branch that its own packages install."""

Version = tuple[int, int]


@dataclass(frozen=True)
class Device:
    """A device that CUDA can use: a whole GPU, or a MIG instance of a GPU.

    index: the GPU's number in nvidia-smi, by its place on the bus. minor: N in the GPU's /dev/nvidiaN. uuid: of the device
    itself. gpu: UUID of the whole GPU.
    """

    index: int
    minor: int
    uuid: str
    name: str
    mig: bool = False
    gpu: str = ""


@dataclass(frozen=True)
class GpuReport:
    """What a machine reports about its NVIDIA devices.

    on_bus: number of NVIDIA devices on the PCI bus, with or without a driver. trouble: the message of nvidia-smi if it lists no
    device; "" if nvidia-smi did not run. driver, cuda: the installed versions, e.g. "535.261.03" and (12, 2). distribution: e.g.
    "debian 12". memory: bytes of each whole GPU, in nvidia-smi's order; () if it is not known, or divided (MIG).
    """

    devices: tuple[Device, ...] = ()
    on_bus: int = 0
    driver: str = ""
    cuda: Version | None = None
    trouble: str = ""
    distribution: str = ""
    memory: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Usable devices: those that nvidia-smi lists; without a driver, those on the bus."""
        return len(self.devices) or self.on_bus


def parse(lines: Iterable[list[str]]) -> GpuReport:
    """Parse the lines that SHELL printed, each split at its tabs. Lines of other kinds are ignored."""
    by_kind: dict[str, list[list[str]]] = {kind: [] for kind in KINDS}
    for kind, *fields in lines:
        if kind in by_kind and fields:
            by_kind[kind].append(fields)
    # The driver prints two lines for each device: its UUID, then its minor number.
    pairs = [fields[0] for fields in by_kind["minor"]]
    minors = {uuid: int(minor) for uuid, minor in zip(pairs[::2], pairs[1::2], strict=False) if minor.isdecimal()}
    smi_lines = [fields[0] for fields in by_kind["smi"]]
    listed = devices(smi_lines, minors)
    driver, cuda = (by_kind["driver"][0] + ["", ""])[:2] if by_kind["driver"] else ("", "")
    trouble = ""
    if smi_lines and not listed:
        trouble = next((line.strip() for line in smi_lines if line.strip()), "nvidia-smi says nothing")
    distribution = next((fields[1] for fields in by_kind["pci"] if len(fields) > 1), "")
    memory = tuple(int(fields[0]) << 20 for fields in by_kind["vram"] if fields[0].isdecimal())
    if len(memory) != len(listed) or any(device.mig for device in listed):
        memory = ()
    return GpuReport(listed, len(by_kind["pci"]), driver, version(cuda), trouble, distribution, memory)


def devices(smi_lines: Iterable[str], minors: dict[str, int]) -> tuple[Device, ...]:
    """Parse the output of `nvidia-smi -L`. A divided GPU (MIG) is listed as its instances.

    minors: UUID → minor number, as the driver reports it. A GPU that is not in it has its index as its minor number.
    """
    listed: list[Device] = []
    whole: Device | None = None
    for line in smi_lines:
        if gpu := _GPU.fullmatch(line.rstrip()):
            index = int(gpu[1])
            whole = Device(index, minors.get(gpu[3], index), gpu[3], gpu[2], gpu=gpu[3])
            listed.append(whole)
        elif whole and (mig := _MIG.fullmatch(line.rstrip())):
            if listed[-1] is whole:
                listed.pop()
            listed.append(Device(whole.index, whole.minor, mig[2], f"{whole.name} MIG {mig[1]}", mig=True, gpu=whole.uuid))
    return tuple(listed)


def version(text: str) -> Version | None:
    """ "12.4.127" → (12, 4); None if the text does not start with a version."""
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def cuda_of_driver(driver: str) -> Version | None:
    """The newest CUDA that a driver such as "535.261.03" runs, by its branch; None for an unknown branch."""
    branch = driver.partition(".")[0]
    known = [number for number in CUDA_OF_DRIVER if branch.isdecimal() and number <= int(branch)]
    # A branch between two rows of the table runs the CUDA of the lower row. Far beyond the last row nothing is known.
    return CUDA_OF_DRIVER[max(known)] if known and int(branch) < max(CUDA_OF_DRIVER) + 5 else None


def cuda_of_requirements(text: str) -> Version | None:
    """The CUDA that pinned requirements install: NVIDIA's runtime wheel, or a local version such as torch==2.5.1+cu121.

    None if the requirements name no CUDA.
    """
    pinned = entries(text)
    for name in pinned:
        if re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", name) and (match := re.search(r"==\s*([\d.]+)", pinned[name])):
            return version(match[1])
    for line in pinned.values():
        if local := re.search(r"==[^\s+]+\+cu(\d\d)(\d+)\b", line):
            return int(local[1]), int(local[2])
    return None


def mismatch(required: Version, driver: str, supported: Version) -> tuple[bool, str] | None:
    """(whether tasks fail for certain, the problem) if the app's CUDA is newer than its driver's; None otherwise.

    required: the app's CUDA. supported: the newest CUDA that the driver runs. Within a major version an app runs on an older
    driver, unless the app uses newer features or compiles PTX (NVIDIA: CUDA Compatibility, Minor Version Compatibility).
    """
    if required <= supported:
        return None
    app_cuda, driver_cuda = ".".join(map(str, required)), ".".join(map(str, supported))
    if required[0] > supported[0]:
        return True, (
            f"the app brings CUDA {app_cuda}, and driver {driver} runs up to {driver_cuda}: pin wheels for {driver_cuda}, "
            "or a newer driver"
        )
    return False, (
        f"the app brings CUDA {app_cuda}, and driver {driver} is of {driver_cuda}: code that is compiled at run time "
        f"(PTX) fails; wheels for {driver_cuda} are safe"
    )
