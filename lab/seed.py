"""The seed of a machine: its name, keys and addresses, as a tar on a small second disk."""

import io
import tarfile
from collections.abc import Mapping

from lab.guest_files import USER


def lan_mac(address: str) -> str:
    """The MAC of eth1 for a LAN address. It ends with the address's last octet, so that MACs are as distinct as addresses."""
    return f"52:54:00:77:00:{int(address.rsplit('.', 1)[1]):02x}"


def etc_hosts(addresses: Mapping[str, str]) -> str:
    """/etc/hosts with every machine of the lab (`addresses`: name → LAN address)."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", *(f"{ip} {name}" for name, ip in addresses.items())]
    return "\n".join(lines) + "\n"


def seed_tar(name: str, addresses: Mapping[str, str], user_key: str, host_key: str) -> bytes:
    """The seed of machine `name` as a tar. Its size is a multiple of 512 bytes, so that it can be a disk.

    `user_key`: the public key that may log in. `host_key`: the machine's private SSH host key, made outside: the lab
    knows it before the first boot and never has to trust a key on first sight.
    """
    address = addresses[name]
    # RequiredForOnline=no: networkd-wait-online would hold the boot for two minutes for a LAN without a router.
    lan = (
        f"[Match]\nMACAddress={lan_mac(address)}\n\n[Link]\nRequiredForOnline=no\n\n"
        f"[Network]\nAddress={address}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:

        def add(path: str, text: str, mode: int, owner: int = 0, *, directory: bool = False) -> None:
            info = tarfile.TarInfo(path)
            info.mode, info.uid, info.gid = mode, owner, owner
            info.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
            data = text.encode()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        add("etc/hostname", f"{name}\n", 0o644)
        add("etc/hosts", etc_hosts(addresses), 0o644)
        add("etc/systemd/network/20-lan.network", lan, 0o644)
        add("etc/ssh/ssh_host_ed25519_key", host_key, 0o600)
        add(f"home/{USER}/.ssh", "", 0o700, 1000, directory=True)
        add(f"home/{USER}/.ssh/authorized_keys", user_key, 0o600, 1000)
    return out.getvalue()
