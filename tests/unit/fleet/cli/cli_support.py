"""The `fleet` command, and the smallest project that it works on."""

import os
import subprocess
import sys
from pathlib import Path

from tests.unit.fleet_support import PINS


def fleet(cwd: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).parent / "fleet"), *words]
    variables = {**os.environ, "FLEET_LAB": "no-such-lab", **environment}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=60, check=False)


def make_project(folder: Path) -> None:
    """The smallest fleet there is: a broker on this machine's loopback, where nothing listens for SSH, and one worker."""
    (folder / "app").mkdir()
    (folder / "app" / "requirements.txt").write_text(PINS)
    (folder / "group_data").mkdir()
    (folder / "group_data" / "all.py").write_text("celery_app = 'app'\napp_source = 'app'\nsecrets_file = 's.env'\n")
    (folder / "group_data" / "web.py").write_text("web_worker = {'queues': ['default'], 'concurrency': 1}\n")
    (folder / "prod.py").write_text("broker = [('127.0.0.1', {'lan_address': '10.0.0.10', 'ssh_port': 9})]\nweb = ['web1']\n")
