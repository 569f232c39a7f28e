"""One virtual machine: the command line that starts it, and by which it is recognized."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lab.seed import lan_mac


@dataclass(frozen=True)
class Vm:
    """The settings of one VM. `memory_mb` in MiB; `multicast` is "group:port"; `directory` holds the VM's files."""

    name: str
    memory_mb: int
    ssh_port: int
    lan_address: str
    multicast: str
    directory: Path
    image: Path
    accel: str

    @property
    def pidfile(self) -> Path:
        """Absolute: this argument of QEMU identifies the process as this VM."""
        return self.directory / f"{self.name}.pid"


def accelerator(cpuinfo: str, kvm_usable: bool) -> str:
    """QEMU's `-accel`: kvm if the CPU has it (`cpuinfo`: /proc/cpuinfo) and /dev/kvm is usable, else emulation.

    /dev/kvm alone proves nothing: inside a VM it can exist and still not run a guest.
    """
    return "kvm" if kvm_usable and re.search(r"^flags\s*:.*\b(vmx|svm)\b", cpuinfo, re.M) else "tcg,thread=multi"


def accelerator_here() -> str:
    """The accelerator of this machine."""
    return accelerator(Path("/proc/cpuinfo").read_text(), os.access("/dev/kvm", os.R_OK | os.W_OK))


def kernel_command_line(vm: Vm) -> str:
    """The guest kernel's parameters. The machine-id is a parameter, so that a boot need not generate one.

    tsc=nowatchdog: if this machine is busy, a guest that checks its clock takes it for broken, and from then on asks an emulated
    one, which is slow and has left guests asleep for a minute.
    """
    machine_id = hashlib.md5(f"{vm.directory}/{vm.name}".encode(), usedforsecurity=False).hexdigest()
    return (
        "console=ttyS0 root=/dev/vda rw loglevel=5 systemd.show_status=true mitigations=off net.ifnames=0 audit=0 "
        f"tsc=nowatchdog systemd.hostname={vm.name} systemd.machine_id={machine_id}"
    )


def argv(vm: Vm) -> list[str]:
    """QEMU's command line. Run it in `vm.directory`: all paths but the image's and the pidfile's are relative to it.

    (A Unix socket's path has at most 107 bytes, which a deep directory exceeds.)
    """
    octet = int(vm.lan_address.rsplit(".", 1)[1])
    return [
        "qemu-system-x86_64",
        *("-name", vm.name, "-pidfile", str(vm.pidfile)),
        *("-machine", "q35", "-accel", vm.accel, "-cpu", "max", "-smp", "1", "-m", str(vm.memory_mb)),
        *("-nodefaults", "-display", "none", "-serial", f"file:{vm.name}.console.log"),
        *("-qmp", f"unix:{vm.name}.qmp,server=on,wait=off"),
        *("-kernel", str(vm.image / "vmlinuz"), "-initrd", str(vm.image / "initrd.img")),
        *("-append", kernel_command_line(vm)),
        *("-drive", f"file={vm.name}.qcow2,if=virtio,cache=unsafe,discard=unmap"),
        *("-drive", f"file={vm.name}.seed,if=virtio,format=raw,readonly=on"),
        *("-device", "virtio-rng-pci"),
        *("-netdev", f"user,id=nat,hostfwd=tcp:127.0.0.1:{vm.ssh_port}-:22"),
        *("-device", f"virtio-net-pci,netdev=nat,romfile=,mac=52:54:00:00:00:{octet:02x}"),
        *("-netdev", f"socket,id=lan,mcast={vm.multicast},localaddr=127.0.0.1"),
        *("-device", f"virtio-net-pci,netdev=lan,romfile=,mac={lan_mac(vm.lan_address)}"),
    ]


def is_vm(cmdline: bytes, pidfile: Path) -> bool:
    """Whether `cmdline` (/proc/PID/cmdline) is the VM with this pidfile: a QEMU with the pidfile among its arguments."""
    words = cmdline.split(b"\0")
    return Path(os.fsdecode(words[0])).name.startswith("qemu-system-") and os.fsencode(pidfile) in words
