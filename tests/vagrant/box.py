"""A Vagrant box of the lab's image, so that Vagrant's machines here are the lab's."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from lab import image
from lab.guest_files import USER
from lab.interrupt import stop_on_signals
from lab.progress import Progress

VAGRANTFILE = f"""\
Vagrant.configure("2") do |config|
  config.ssh.username = "{USER}"
  config.vm.provider :libvirt do |libvirt|
    libvirt.kernel = File.join(__dir__, "vmlinuz")
    libvirt.initrd = File.join(__dir__, "initrd.img")
    libvirt.cmd_line = "console=ttyS0 root=/dev/vda rw quiet mitigations=off net.ifnames=0"
  end
end
"""
# DHCP on every interface, as many boxes have it. Vagrant's own file of a private address (50-…) comes after it and loses.
NETWORK = "[Match]\nName=e*\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n"
# Each machine generates its own host keys, before Debian's check of the configuration.
KEYS = "[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n"


def build(to: Path) -> None:
    """Write the box to `to`: a tar of the lab's disk, with Vagrant's public key in place of the lab's."""
    with Progress() as progress, stop_on_signals() as stop:
        made = image.ensure(progress, stop)
    with tempfile.TemporaryDirectory(dir=to.parent) as name:
        work = Path(name)
        subprocess.run(["cp", "--sparse=always", made / "disk.raw", work / "disk.raw"], check=True)
        (work / "authorized_keys").write_text(_insecure_key())
        (work / "network").write_text(NETWORK)
        (work / "keys").write_text(KEYS)
        edits = [
            # A machine without a seed disk would wait for it.
            "rm /etc/systemd/system/sysinit.target.wants/lab-seed.service",
            "rm /etc/systemd/network/10-nat.network",
            f"write {work}/network /etc/systemd/network/10-dhcp.network",
            "mkdir /etc/systemd/system/ssh.service.d",
            f"write {work}/keys /etc/systemd/system/ssh.service.d/keys.conf",
            f"mkdir /home/{USER}/.ssh",
            f"write {work}/authorized_keys /home/{USER}/.ssh/authorized_keys",
            f"sif /home/{USER}/.ssh mode 040700",
            f"sif /home/{USER}/.ssh/authorized_keys mode 0100600",
            *(f"sif /home/{USER}/.ssh{path} {owner} 1000" for path in ("", "/authorized_keys") for owner in ("uid", "gid")),
        ]
        done = subprocess.run(
            ["/sbin/debugfs", "-w", "-f", "-", work / "disk.raw"],
            input="\n".join(edits),
            capture_output=True,
            text=True,
            check=True,
        )
        errors = [line for line in done.stderr.splitlines() if not line.startswith("debugfs 1.")]
        if errors:
            raise RuntimeError(f"the disk could not be edited: {errors}")
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", work / "disk.raw", work / "box.img"], check=True)
        size = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", work / "box.img"]))["virtual-size"]
        metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": -(-size // 2**30)}
        (work / "metadata.json").write_text(json.dumps(metadata))
        (work / "Vagrantfile").write_text(VAGRANTFILE)
        for part in ("vmlinuz", "initrd.img"):
            shutil.copy(made / part, work)
        with tarfile.open(to, "w") as tar:
            for part in ("metadata.json", "Vagrantfile", "vmlinuz", "initrd.img", "box.img"):
                tar.add(work / part, part)


def _insecure_key() -> str:
    """Vagrant's well-known public key, from its Debian package. Vagrant replaces it at the first boot."""
    listed = subprocess.run(["dpkg", "-L", "vagrant"], capture_output=True, text=True, check=True).stdout.split()
    return Path(next(path for path in listed if path.endswith("/keys/vagrant.pub"))).read_text()
