"""A fleet whose machines are an sshd on loopback, and whose workers run here."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.loopback import sshd
from tests.unit.fleet_node.delivery.lease_support import leased
from tests.unit.fleet_support import make_app
from tests.unit.process_support import ROOT, Machine

FLEET = str(Path(sys.executable).parent / "fleet")
GROUP_DATA = """\
celery_app, app_source, secrets_file = "shop.app", "app", "s.env"
broker = {{"port": {port}}}
web_worker = {{"queues": ["default", "quiet"], "concurrency": 4, "instances": 1, "min_consumers": 1}}
"""


@dataclass
class Project:
    """A clone's root. here: the machine that the workers run on."""

    folder: Path
    here: Machine

    def fleet(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a fleet command, which ends by itself in a minute."""
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "250", "PYTHONPATH": str(ROOT)}
        environment["XDG_STATE_HOME"] = str(self.folder / "kept")
        return subprocess.run(
            [FLEET, *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def json(self, *words: str) -> Any:
        """What a command prints as JSON."""
        done = self.fleet(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@contextmanager
def project(tmp_path: Path, *, down: bool = False) -> Iterator[Project]:
    """A fleet of a broker and a web machine. down: a second web machine does not answer."""
    folder = tmp_path / "project"
    folder.mkdir()
    make_app(folder)
    with leased(tmp_path / "here", lease=60) as here, sshd(tmp_path / "sshd") as server, here.redis() as redis:
        here.hostname = socket.gethostname()
        passwords = {"WORKER": "worker-password", "MONITOR": "monitor-password"}
        for user, password in passwords.items():
            redis.execute_command("ACL", "SETUSER", user.lower(), "on", f">{password}", "~*", "&*", "+@all")
        (folder / "s.env").write_text("".join(f"BROKER_{user}_PASSWORD={value}\n" for user, value in passwords.items()))
        (folder / "s.env").chmod(0o600)
        reach = {"ssh_hostname": "127.0.0.1", "ssh_port": server.port, "lan_address": "127.0.0.1", "ssh_user": server.user}
        reach |= {"ssh_key": str(server.key), "ssh_known_hosts_file": str(server.known_hosts)}
        lost = ", ('web2', {**_at, 'ssh_port': 9})" if down else ""
        (folder / "prod.py").write_text(f"_at = {reach!r}\nbroker = [('b', _at)]\nweb = [('web1', _at){lost}]\n")
        (folder / "group_data").mkdir()
        everywhere, broker, web = GROUP_DATA.format(port=here.port).splitlines(keepends=True)
        for name, text in (("all", everywhere), ("broker", broker), ("web", web)):
            (folder / "group_data" / f"{name}.py").write_text(text)
        yield Project(folder, here)
