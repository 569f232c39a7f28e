"""The files of every guest: sshd, networks, masked units, the unit that reads the seed. Pure values."""

import io
import tarfile
from collections.abc import Mapping

USER = "debian"

# Under emulation a second of background work costs five: no timer may run while a test watches a deploy.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-pstore.service",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
)

SEED_UNIT = """\
[Unit]
Description=Take this machine's name, keys and addresses from the seed disk
DefaultDependencies=no
BindsTo=dev-vdb.device
After=dev-vdb.device systemd-remount-fs.service
Before=sysinit.target network-pre.target systemd-networkd.service systemd-resolved.service ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/tar -x -C / --no-overwrite-dir -f /dev/vdb

[Install]
WantedBy=sysinit.target
"""

SSHD = """\
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UseDNS no
MaxStartups 100
MaxSessions 100
HostKey /etc/ssh/ssh_host_ed25519_key
"""

FILES: dict[str, str] = {
    "etc/ssh/sshd_config.d/lab.conf": SSHD,
    "etc/sudoers.d/lab": f"{USER} ALL=(ALL) NOPASSWD: ALL\n",
    "etc/systemd/system/lab-seed.service": SEED_UNIT,
    "etc/systemd/network/10-nat.network": "[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n",
    # The list has the virtual machine's devices; MODULES=most would unpack ten times as much at every boot.
    "etc/initramfs-tools/conf.d/lab": "MODULES=list\nCOMPRESS=lz4\nRESUME=none\n",
    "usr/share/initramfs-tools/modules.d/lab": "virtio_pci\nvirtio_blk\nvirtio_net\nvirtio_rng\next4\ncrc32c_generic\n",
    "etc/fstab": "/dev/vda / ext4 defaults,noatime 0 0\n",
    # The disks are thrown away: dpkg need not sync each file to them.
    "etc/dpkg/dpkg.cfg.d/lab": "force-unsafe-io\n",
}


def files_tar(certificates: Mapping[str, bytes]) -> bytes:
    """The files laid over the image before its packages are configured, as a tar owned by root.

    `certificates`: file name → content of the extra CA certificates of the control machine. Returns the tar's bytes,
    the same for the same input.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        contents = {path: text.encode() for path, text in FILES.items()}
        contents |= {f"usr/local/share/ca-certificates/{name}": data for name, data in certificates.items()}
        for path, data in sorted(contents.items()):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o440 if path.startswith("etc/sudoers.d/") else 0o644
            tar.addfile(info, io.BytesIO(data))
        for unit in MASKED:
            info = tarfile.TarInfo(f"etc/systemd/system/{unit}")
            info.type, info.linkname = tarfile.SYMTYPE, "/dev/null"
            tar.addfile(info)
    return out.getvalue()
