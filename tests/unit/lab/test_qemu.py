"""The command line of a VM, by which its process is recognized."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab.qemu import Vm, accelerator, argv, is_vm

VM = Vm(
    name="web1",
    memory_mb=1536,
    ssh_port=20022,
    lan_address="10.77.0.12",
    multicast="230.77.1.2:20099",
    directory=Path("/labs/lab"),
    image=Path("/images/abc"),
    accel="tcg,thread=multi",
)


def test_ssh_is_reached_on_loopback_only() -> None:
    assert "user,id=nat,hostfwd=tcp:127.0.0.1:20022-:22" in argv(VM)


def test_the_lan_stays_on_loopback() -> None:
    assert "socket,id=lan,mcast=230.77.1.2:20099,localaddr=127.0.0.1" in argv(VM)


def test_memory_and_name_reach_the_guest() -> None:
    words = argv(VM)
    assert words[words.index("-m") + 1] == "1536"
    assert "systemd.hostname=web1" in words[words.index("-append") + 1]


def test_two_machines_share_neither_mac_nor_machine_id() -> None:
    first = argv(VM)
    other = argv(replace(VM, name="web2", lan_address="10.77.0.13"))
    assert not {w for w in first if "mac=" in w} & {w for w in other if "mac=" in w}
    assert first[first.index("-append") + 1].split()[-1] != other[other.index("-append") + 1].split()[-1]


def test_no_socket_path_grows_with_the_directory() -> None:
    deep = argv(replace(VM, directory=Path("/" + "deep/" * 60)))
    assert "unix:web1.qmp,server=on,wait=off" in deep


@pytest.mark.parametrize(
    ("cpuinfo", "usable", "expected"),
    [
        ("flags\t\t: fpu vmx sse", True, "kvm"),
        ("flags\t\t: fpu svm", True, "kvm"),
        ("flags\t\t: fpu svm", False, "tcg,thread=multi"),
        ("flags\t\t: fpu sse", True, "tcg,thread=multi"),
        ("model name\t: vmx", True, "tcg,thread=multi"),
    ],
)
def test_kvm_only_if_the_cpu_has_it_and_the_device_is_usable(cpuinfo: str, usable: bool, expected: str) -> None:
    assert accelerator(cpuinfo, usable) == expected


def cmdline(words: list[str]) -> bytes:
    return b"\0".join(map(str.encode, words)) + b"\0"


def test_only_this_vm_is_taken_for_this_vm() -> None:
    assert is_vm(cmdline(argv(VM)), VM.pidfile)
    assert not is_vm(cmdline(argv(VM)), Path("/labs/other/web1.pid"))
    assert not is_vm(cmdline(["less", str(VM.pidfile)]), VM.pidfile)
    assert not is_vm(b"", VM.pidfile)
