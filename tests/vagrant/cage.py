"""Run a command with a libvirt of its own: python -m tests.vagrant.cage COMMAND …

Its networks, processes, mounts and files are in their own namespaces and folder, and end with the command: no bridge, address,
firewall rule, machine, box or daemon is ever on this machine itself. It needs root on Debian, vagrant-libvirt and slirp4netns.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

# The first process of the new namespaces: when it ends, every process in them ends. $1: the folder; then the command.
INSIDE = r"""
set -eu
folder=$1; shift
mount --make-rprivate /
mount -t sysfs sysfs /sys
# Empty folders: this machine's own libvirt may have machines that start by themselves, and disks of any size.
mkdir -p "$folder/etc/libvirt"
cp -a /etc/libvirt/libvirtd.conf /etc/libvirt/qemu.conf /etc/libvirt/nwfilter "$folder/etc/libvirt"
mkdir -p "$folder/var/lib/libvirt/images"
for place in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    mkdir -p "$folder$place" "$place"
    mount --bind "$folder$place" "$place"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/dbus /run/lock /run/user
resolv=$(readlink -m /etc/resolv.conf)
mkdir -p "${resolv%/*}"
[ -e "$resolv" ] || : >"$resolv"
echo "nameserver 10.0.2.3" >/run/fleet-resolv.conf
mount --bind /run/fleet-resolv.conf "$resolv"
ip link set lo up
tries=100
until ip -4 addr show tap0 2>/dev/null | grep -q inet; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { echo "no network came up in the cage" >&2; exit 1; }
    sleep 0.1
done
echo 'auth_unix_rw = "none"' >>/etc/libvirt/libvirtd.conf
cat >>/etc/libvirt/qemu.conf <<'END'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
END
dbus-daemon --system --fork
virtlogd -d
libvirtd -d
tries=100
until virsh -c qemu:///system version >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { echo "libvirtd did not come up" >&2; exit 1; }
    sleep 0.1
done
"$@"
"""
NEEDED = ("unshare", "slirp4netns", "libvirtd", "virtlogd", "virsh", "dnsmasq", "dbus-daemon", "vagrant", "qemu-system-x86_64")


def run(command: list[str]) -> int:
    """Run the command in a cage. Returns its exit status, or 2 with a message if the cage cannot be made."""
    missing = [tool for tool in NEEDED if not shutil.which(tool)]
    if missing or os.geteuid() != 0:
        why = "not root" if os.geteuid() else f"not installed: {', '.join(missing)} (scripts/packages vagrant)"
        sys.stderr.write(f"no cage for Vagrant: {why}\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="fleet-vagrant-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        environment = os.environ | {
            "VAGRANT_HOME": f"{folder}/home",
            "VAGRANT_DOTFILE_PATH": f"{folder}/state",
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
        }
        unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        with subprocess.Popen([*unshare, "sh", "-c", INSIDE, "cage", folder, *command], env=environment) as cage:
            network = None
            try:
                network = _network(cage)
                return cage.wait()
            except KeyboardInterrupt:
                return 130
            finally:
                # unshare ignores SIGTERM while it waits; SIGKILL ends it and every process in the namespaces.
                cage.kill()
                cage.wait()
                if network:
                    network.terminate()
                    network.wait()


def _network(cage: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """The cage's way out: user-mode networking, as the lab's machines have it. This machine gets no interface for it."""
    children = Path(f"/proc/{cage.pid}/task/{cage.pid}/children")
    while not (pids := children.read_text().split()):
        if cage.poll() is not None:
            raise SystemExit(cage.returncode)
    command = ["slirp4netns", "--configure", "--mtu=1500", "--disable-host-loopback", pids[0], "tap0"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupted)
    sys.exit(run(sys.argv[1:]))
