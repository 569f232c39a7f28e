"""The packages of the image, and the commands that make a disk of them. Pure values, no I/O."""

import hashlib
from collections.abc import Sequence

from lab.guest_files import USER

SUITE = "bookworm"

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "udev",
    "kmod",
    "openssh-server",
    "python3",
    "python3-venv",
    "python3-pip",
    "sudo",
    "iproute2",
    "nftables",
    "procps",
    "ca-certificates",
    "linux-image-cloud-amd64",
    "initramfs-tools",
)

CUSTOMIZE = f"""set -e
chroot "$1" useradd --create-home --shell /bin/bash {USER}
chroot "$1" systemctl enable systemd-networkd systemd-resolved ssh lab-seed
rm -f "$1"/etc/ssh/ssh_host_*
chroot "$1" apt-cache gencaches
"""

# This runs after mmdebstrap, because mmdebstrap's own cleaning touches resolv.conf and machine-id.
# The machine-id is empty: without the file, systemd would apply its presets to every unit at the first boot.
FINISH = """set -e
mkdir root
tar --extract --file root.tar --directory root --numeric-owner --same-permissions --exclude './dev/*'
ln -sf /run/systemd/resolve/resolv.conf root/etc/resolv.conf
: > root/etc/machine-id
cp root/boot/vmlinuz-* vmlinuz
cp root/boot/initrd.img-* initrd.img
truncate -s 6G disk.raw
mke2fs -q -F -t ext4 -L root -m 0 -E lazy_itable_init=0 -d root disk.raw
rm -rf root root.tar files.tar
"""


def mmdebstrap_argv(sources: Sequence[str], *, root: bool) -> list[str]:
    """The command that builds `root.tar` in the working directory from `files.tar` there.

    `sources`: apt lines ("deb URI suite main"). `root`: whether the caller is root; otherwise mmdebstrap uses user namespaces.
    """
    return [
        "mmdebstrap",
        f"--mode={'root' if root else 'unshare'}",
        "--variant=minbase",
        "--format=tar",
        f"--include={','.join(PACKAGES)}",
        # Deploys install packages in the guest, where fetching the lists anew would take a minute of emulated CPU.
        "--skip=cleanup/apt/lists,cleanup/apt/cache",
        '--aptopt=Acquire::Languages "none"',
        "--essential-hook=tar-in files.tar /",
        f"--customize-hook={CUSTOMIZE}",
        SUITE,
        "root.tar",
        *sources,
    ]


def digest(files: bytes, sources: Sequence[str], week: str) -> str:
    """The image's name: 16 hex digits of a hash over everything that it is built from.

    `week`: the calendar week ("2030-W07"), so that package lists in the image are never older than a week.
    """
    text = "\0".join([*mmdebstrap_argv(sources, root=True), FINISH, week])
    return hashlib.sha256(files + text.encode()).hexdigest()[:16]
