"""SSH to an sshd on loopback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.loopback import sshd
from fleet.inventory import ssh
from tests.unit.process_support import ROOT

pytestmark = pytest.mark.long
FORWARD = """
from fleet.inventory import ssh
with ssh.forward("web1", {data!r}, "127.0.0.1", {data[ssh_port]}) as port:
    print(port > 0)
"""


def test_a_forward_ends_although_ssh_misses_the_signal(tmp_path: Path) -> None:
    """As ssh does if it is asked to end just before it waits for its connection."""
    deaf = tmp_path / "bin" / "ssh"
    deaf.parent.mkdir()
    deaf.write_text(f"#!/bin/sh\ntrap '' TERM\nPATH={os.environ['PATH']} exec ssh \"$@\"\n")
    deaf.chmod(0o755)
    with sshd(tmp_path / "sshd") as server:
        data = {"ssh_hostname": "127.0.0.1", "ssh_port": server.port, "ssh_user": server.user, "ssh_key": str(server.key)}
        data["ssh_known_hosts_file"] = str(server.known_hosts)
        done = subprocess.run(
            [sys.executable, "-c", FORWARD.format(data=data)],
            env={**os.environ, "PATH": f"{deaf.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def fake(folder: Path, lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in place of ssh."""
    (folder / "ssh").write_text(f"#!/bin/sh\n{lines}\n")
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_an_ipv6_address_is_forwarded_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, 'echo "$@" >&2; exit 255', monkeypatch)
    with (
        pytest.raises(ssh.SSHError, match=r"-L 127\.0\.0\.1:\d+:\[2001:db8::7\]:5671 web1"),
        ssh.forward("web1", {}, "2001:db8::7", 5671),
    ):
        pass


def test_a_forward_survives_that_ssh_complains_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does of each connection that is refused at the other end."""
    server = f"""port=$(echo "$*" | sed 's/.*127.0.0.1:\\([0-9]*\\):.*/\\1/')
head -c 1000000 /dev/zero >&2
exec {sys.executable} -m http.server --bind 127.0.0.1 "$port" >&2"""
    fake(tmp_path, server, monkeypatch)
    with ssh.forward("web1", {}, "10.0.0.1", 5672) as port:
        assert port > 0
