"""SSH to an sshd on loopback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.loopback import sshd
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
