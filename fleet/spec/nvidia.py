"""The settings of a machine's NVIDIA devices."""

from __future__ import annotations

from typing import Literal

from fleet.spec.fields import Model, setting
from fleet.spec.sources import OURS
from fleet.spec.values import Cuda, DriverSource, Fingerprint, Line, Name, Package


class Repository(Model):
    """A vendor's Debian repository: `nvidia["repository"]`."""

    uri: Line = setting("URI of the repository.", why="NVIDIA's own repository, or your mirror of it.", source="sources.list(5)")
    suite: Line = setting(
        'Suite of the repository, e.g. "bookworm", or a path that ends with "/".',
        why="apt looks there for the list of packages.",
        source="sources.list(5)",
    )
    components: list[Name] = setting(
        "Components of the repository. A suite that is a path has none.",
        why="Debian's own form of a repository.",
        source="sources.list(5)",
        default=[],
    )
    key: Line = setting(
        "File on the control machine with the OpenPGP key that signs the repository, armored or not.",
        why="A key that is fetched the same way as the packages proves nothing.",
        source=OURS,
    )
    fingerprint: Fingerprint = setting("Fingerprint of that key.", why="A replaced key is noticed.", source=OURS)


class Nvidia(Model):
    """NVIDIA devices of a machine: `nvidia` in `group_data/gpu.py`, or in a host's own data."""

    driver: DriverSource = setting(
        'Where the driver comes from: "debian" installs the distribution\'s, "existing" is installed already, "none" needs none.',
        why="Most GPU machines come with a driver. none is for simulated devices: `gpus` says how many there are.",
        source=OURS,
        default="existing",
    )
    packages: list[Package] = setting(
        'Packages that driver "debian" installs, besides the kernel\'s headers.',
        why="The kernel module (built by DKMS), nvidia-smi, CUDA's driver library, and the daemon that keeps a device ready "
        "between tasks.",
        source="Debian, non-free",
        default=["nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "nvidia-persistenced"],
        min_length=1,
    )
    repository: Repository | None = setting(
        "A vendor's repository for these packages, instead of the distribution's own.",
        why="It is for a driver newer than the distribution's. Name the vendor's packages in `packages`.",
        source=OURS,
        default=None,
    )
    cuda_toolkit: Literal["debian", "none"] = setting(
        "Whether to install CUDA's compiler and libraries.",
        why="Wheels such as PyTorch's include the libraries that they were built with, and need only the driver.",
        source="PyTorch's own wheels",
        default="none",
    )
    cuda: Cuda | None = setting(
        'The CUDA version that the app needs, e.g. "12.1".',
        why="If it is newer than the driver's CUDA, the first task fails. `fleet lint` reports it before that.",
        source="NVIDIA, CUDA Compatibility",
        default=None,
        shown="`None` (as the pinned requirements bring)",
    )
    reboot: Literal["auto", "never"] = setting(
        "Whether a deploy may restart a machine whose new driver needs it. Machines are drained and restarted one at a time.",
        why="Reboots are opt-in.",
        source=OURS,
        default="never",
    )
    compute_mode: Literal["default", "exclusive"] = setting(
        "Who may use a device: with exclusive, one process (EXCLUSIVE_PROCESS).",
        why="default lets you inspect a device while its worker runs.",
        source="nvidia-smi(1)",
        default="default",
    )
    share: int = setting(
        "How many worker processes may share a device.",
        why="Processes on one device share its memory, and nothing holds any of them to its part.",
        source="CUDA C++ Programming Guide",
        default=1,
        ge=1,
    )
    devices_by: Literal["index", "uuid"] = setting(
        "How CUDA_VISIBLE_DEVICES names a worker's device. MIG instances always go by UUID.",
        why="An index is easy to read in a unit, and follows the place on the bus. A UUID follows the device.",
        source="CUDA Programming Guide, Environment Variables",
        default="index",
    )
