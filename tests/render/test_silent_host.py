"""A machine that is gone in the middle of a build: the run ends, with a line that names it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.loopback import sshd
from tests.render.conftest import ROOT
from tests.unit.fleet.engine.test_connection import Cable

SCRIPT = """\
from pyinfra.context import host
from pyinfra.operations import server

from fleet.engine import connection

connection.EVERY, connection.PATIENCE = 0.2, 1.0
connection.notice_when_gone(host)
server.shell(name="Build the release", commands=["touch {begun}; sleep 600"])
server.shell(name="Check that the app imports", commands=["true"])
"""


def test_a_machine_that_is_gone_in_a_build_ends_the_run(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with sshd(tmp_path / "sshd") as server:
        cable = Cable(server)
        reach = {"ssh_hostname": "127.0.0.1", "ssh_port": cable.port, "ssh_user": server.user, "ssh_key": str(server.key)}
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{cable.port} {(server.folder / 'host.pub').read_text()}")
        reach["ssh_known_hosts_file"] = str(known_hosts)
        (tmp_path / "prod.py").write_text(f"web = [('web1', {reach!r})]\n")
        (tmp_path / "build.py").write_text(SCRIPT.format(begun=begun))
        (tmp_path / "config.py").symlink_to(ROOT / "config.py")
        command = [str(Path(sys.executable).parent / "pyinfra"), "prod.py", "build.py", "-y"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            while not begun.exists() and process.poll() is None:
                time.sleep(0.05)
            cable.freeze()
            output, _ = process.communicate(timeout=60)
        cable.close()
    assert process.returncode == 1, output
    (line,) = [line for line in output.splitlines() if "no sign of life" in line]
    assert "[web1]" in line
    assert "Run it again when it is back; --limit names the hosts to go on with" in line
    assert "Starting operation: Check that the app imports" not in output
    assert "--> pyinfra error: No hosts remaining!" in output
    assert "Traceback" not in output
