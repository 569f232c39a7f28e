"""SSH to a machine of the lab, whose key is known beforehand. The user's own known_hosts is never touched."""

import socket
import subprocess
from pathlib import Path

from lab.state import Host, Lab


def argv(lab: Lab, host: Host, command: list[str]) -> list[str]:
    """The ssh command line for `host`; an empty `command` is a login."""
    options = {
        "IdentityFile": lab.key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": lab.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "15",
        "LogLevel": "ERROR",
    }
    flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    # -F: ignore the user's own ssh configuration (a proxy, a jump host).
    return ["ssh", "-F", "/dev/null", *flags, "-p", str(host.ssh_port), f"{lab.user}@{host.ssh_hostname}", *command]


def make_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair at `path` and `path`.pub, unless it exists."""
    if not path.exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def answers(host: Host, timeout: float = 3) -> bool:
    """Whether an SSH server greets at the host's port. QEMU accepts connections for a guest that is not up yet:
    only the greeting proves it."""
    try:
        with socket.create_connection((host.ssh_hostname, host.ssh_port), timeout=timeout) as sock:
            sock.settimeout(timeout)
            return sock.recv(4) == b"SSH-"
    except OSError:
        return False
