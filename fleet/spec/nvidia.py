"""The settings of a machine's NVIDIA devices: `nvidia` in `group_data/gpu.py`, or for a host."""

from __future__ import annotations

from typing import Literal

from fleet.spec.fields import Model, setting
from fleet.spec.sources import OURS
from fleet.spec.values import Cuda, DriverSource, Fingerprint, Line, Name, Package


class Repository(Model):
    """A vendor's Debian repository: `nvidia["repository"]`."""

    uri: Line = setting("Its URI.", why="NVIDIA's own, or a mirror of yours.", source="sources.list(5)")
    suite: Line = setting('Its suite, e.g. "bookworm", or a path that ends with "/".', why="-", source="sources.list(5)")
    components: list[Name] = setting(
        "Its components; none where the suite is a path.", why="-", source="sources.list(5)", default=[]
    )
    key: Line = setting(
        "File on the control machine with the OpenPGP key that signs it (armored or not).",
        why="A key that is fetched by the same way as the packages proves nothing.",
        source=OURS,
    )
    fingerprint: Fingerprint = setting(
        "The fingerprint of that key.", why="So that a key that was replaced is noticed.", source=OURS
    )


class Nvidia(Model):
    """NVIDIA devices of a machine: `nvidia` in `group_data/gpu.py`."""

    driver: DriverSource = setting(
        'Where the driver comes from: "debian" installs the distribution\'s, "existing" is there already, "none" asks for none.',
        why="Most GPU machines come with a driver. none is for a stand-in: the devices are then as many as `gpus` says.",
        source=OURS,
        default="existing",
    )
    packages: list[Package] = setting(
        "What driver = debian installs, besides the kernel's headers.",
        why="The module for this kernel, built by DKMS, nvidia-smi, CUDA's driver library, and what keeps a device ready between "
        "tasks.",
        source="Debian, non-free",
        default=["nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "nvidia-persistenced"],
        min_length=1,
    )
    repository: Repository | None = setting(
        "A vendor's repository for these packages, in place of the distribution's own.",
        why="For a newer driver than the distribution has; then name its packages above.",
        source=OURS,
        default=None,
    )
    cuda_toolkit: Literal["debian", "none"] = setting(
        "Whether to install CUDA's compiler and libraries.",
        why="None: wheels of PyTorch and its like bring the libraries that they were built with, and need the driver alone.",
        source="PyTorch's own wheels",
        default="none",
    )
    cuda: Cuda | None = setting(
        'The CUDA that the app needs, e.g. "12.1".',
        why="auto is what its pinned requirements bring. Newer than the driver's it fails in the first task, unless `fleet lint` "
        "says so before.",
        source="NVIDIA, CUDA Compatibility",
        default=None,
        shown="auto",
    )
    reboot: Literal["auto", "never"] = setting(
        "Whether a deploy may restart a machine whose new driver asks for it: drained, one at a time.",
        why="Somebody has to have meant it.",
        source=OURS,
        default="never",
    )
    compute_mode: Literal["default", "exclusive"] = setting(
        "exclusive: one process a device (EXCLUSIVE_PROCESS).",
        why="default lets you look at a device while its worker runs.",
        source="nvidia-smi(1)",
        default="default",
    )
    devices_by: Literal["index", "uuid"] = setting(
        "What a worker's device is called in CUDA_VISIBLE_DEVICES. MIG instances go by UUID in any case.",
        why="An index is read in every unit at a glance, and follows the place on the bus; a UUID follows the device.",
        source="CUDA Programming Guide, Environment Variables",
        default="index",
    )
