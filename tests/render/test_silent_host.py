"""A machine that is gone in the middle of a build: the run ends, with a line that names it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.loopback import Sshd, sshd
from tests.render.conftest import ROOT
from tests.unit.fleet.engine.test_connection import Cable

SCRIPT = """\
from pyinfra.context import host
from pyinfra.operations import server

from fleet.engine import connection

connection.EVERY, connection.PATIENCE = 0.2, 1.0
connection.notice_when_gone(host)
server.shell(name="Build the release", commands=["touch {begun}; sleep 60"])
server.shell(name="Check that the app imports", commands=["true"])
"""
NAMESPACE = ["unshare", "--net", "--pid", "--fork", "--kill-child"]


def run_and_lose(folder: Path, server: Sshd, port: int, lose: Callable[[], object]) -> tuple[int, str]:
    """Run the script over a port that leads to sshd, and lose the machine in its first operation: (exit code, output)."""
    reach = {"ssh_hostname": "127.0.0.1", "ssh_port": port, "ssh_user": server.user, "ssh_key": str(server.key)}
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {(server.folder / 'host.pub').read_text()}")
    reach["ssh_known_hosts_file"] = str(known_hosts)
    begun = folder / "begun"
    (folder / "prod.py").write_text(f"web = [('web1', {reach!r})]\n")
    (folder / "build.py").write_text(SCRIPT.format(begun=begun))
    (folder / "config.py").symlink_to(ROOT / "config.py")
    command = [str(Path(sys.executable).parent / "pyinfra"), "prod.py", "build.py", "-y"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while not begun.exists() and process.poll() is None:
            time.sleep(0.05)
        lose()
        output, _ = process.communicate(timeout=60)
    return process.returncode, output


def assert_ended(code: int, output: str) -> None:
    assert code == 1, output
    assert "no sign of life" in output, output
    (line,) = [line for line in output.splitlines() if "no sign of life" in line]
    assert "[web1]" in line
    assert "Run it again when it is back; --limit names the hosts to go on with" in line
    assert "Starting operation: Check that the app imports" not in output
    assert "--> pyinfra error: No hosts remaining!" in output
    assert "Traceback" not in output


def test_a_machine_that_is_gone_behind_a_relay_ends_the_run(tmp_path: Path) -> None:
    """TCP goes on acknowledging."""
    with sshd(tmp_path / "sshd") as server:
        cable = Cable(server)
        ended = run_and_lose(tmp_path, server, cable.port, cable.freeze)
        cable.close()
    assert_ended(*ended)


def lose_the_network(folder: Path) -> None:
    """In a network namespace of its own: nothing is acknowledged any more."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with sshd(folder / "sshd") as server:
        down = ["ip", "link", "set", "lo", "down"]
        assert_ended(*run_and_lose(folder, server, server.port, lambda: subprocess.run(down, check=True)))


@pytest.mark.skipif(
    os.getuid() != 0 or subprocess.run([*NAMESPACE, "true"], check=False).returncode != 0,
    reason="only root has network namespaces here",
)
def test_a_network_that_is_gone_ends_the_run(tmp_path: Path) -> None:
    words = (
        "import sys; from pathlib import Path; from tests.render.test_silent_host import lose_the_network; "
        "lose_the_network(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-c", words, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
