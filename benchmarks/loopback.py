"""One sshd on 127.0.0.1, with keys and settings of its own, that serves many "hosts"."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "127.0.0.1"
START_S = 10


class SshdError(Exception):
    """sshd did not come up. str() says why."""


@dataclass(frozen=True)
class Sshd:
    """A running sshd. folder: its keys and log."""

    folder: Path
    port: int
    user: str

    @property
    def key(self) -> Path:
        """The private key of the client."""
        return self.folder / "client"

    @property
    def known_hosts(self) -> Path:
        """The known_hosts file, with the server's key."""
        return self.folder / "known_hosts"

    @property
    def options(self) -> list[str]:
        """The options of `ssh` that make it independent of the user's own configuration."""
        values = {
            "BatchMode": "yes",
            "IdentityFile": self.key,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
        }
        return ["-F", "/dev/null", *(word for name, value in values.items() for word in ("-o", f"{name}={value}"))]

    def ssh(self, command: str) -> list[str]:
        """The command line of one plain `ssh`."""
        return ["ssh", *self.options, "-p", str(self.port), f"{self.user}@{ADDRESS}", command]

    def mark(self) -> int:
        """The size of the log now."""
        return (self.folder / "log").stat().st_size

    def commands_since(self, mark: int) -> list[int]:
        """How many commands (exec channels and subsystems) each connection since `mark` ran; a port is a connection."""
        with (self.folder / "log").open("rb") as log:
            log.seek(mark)
            text = log.read().decode(errors="replace")
        return list(Counter(re.findall(r"Starting session: .* port (\d+) id \d+", text)).values())


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """Start sshd on a free port of 127.0.0.1; it ends with the context. Raises SshdError if it does not start."""
    folder.mkdir(mode=0o700)
    (folder / "home").mkdir()
    for name in ("host", "client"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = int(free.getsockname()[1])
    server = Sshd(folder, port, getpass.getuser())
    server.known_hosts.write_text(f"[{ADDRESS}]:{port} {(folder / 'host.pub').read_text()}")
    shutil.copy(folder / "client.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(_config(server))
    if os.geteuid() == 0:
        # sshd started by root insists on this empty directory. It stays: another sshd may use it too.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    binary = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SshdError("no sshd found; install openssh-server")
    # A session of its own: Ctrl-C in a terminal must not end sshd before its users have ended.
    command = [binary, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait(process, server)
        yield server
    finally:
        process.terminate()
        process.wait()


def _config(server: Sshd) -> str:
    folder = server.folder
    return f"""ListenAddress {ADDRESS}:{server.port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 1000
MaxSessions 1000
Subsystem sftp internal-sftp
# A home without start-up files: a user's own (a version manager takes 0.1 s a command) would distort the times.
SetEnv HOME={folder}/home
# A line a command, by which they are counted: the same few lines for every contender.
LogLevel VERBOSE
"""


def _wait(process: subprocess.Popen[bytes], server: Sshd) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection((ADDRESS, server.port), timeout=1) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.05)
    log = server.folder / "log"
    raise SshdError(f"sshd did not come up: {log.read_text().strip() if log.exists() else 'no log'}")
