"""A fleet on a lab whose broker is a RabbitMQ of its own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.online.conftest import NAME, OWN_LAB, ROOT, Lab, inventory_with

BROKERS = ("broker1", "broker2", "broker3")
UNIT = "rabbitmq-server.service"
BROKER = {"kind": "rabbitmq", "memory": "25%", "memory_max": "45%"}
RESULTS = r"""
import pathlib, secrets, subprocess, sys
subprocess.run(["apt-get", "install", "-qq", "redis-server"], check=True, capture_output=True)
password = secrets.token_urlsafe(16)
lines = f"\nbind {sys.argv[1]}\nrequirepass {password}\nmaxmemory 100mb\nmaxmemory-policy noeviction\n"
file = pathlib.Path("/etc/redis/redis.conf")
file.write_text(file.read_text() + lines)
subprocess.run(["systemctl", "restart", "redis-server"], check=True)
print(f"RESULT_URL=redis://:{password}@{sys.argv[1]}:6379/0")
"""
"""A Redis that the fleet does not manage: it prints its URL."""
WEB = """web_worker = {
    "queues": ["default", "priority", "ml"],  # no machine of this lab has a GPU, and the demo app has a task for one
    "workload": "io",
    "instances": 2,
    "time_limit": 60,
    "settle": 2,
    "canary_settle": 5,
}
"""


@contextmanager
def three_machines(lab: Lab) -> Iterator[None]:
    """A lab of BROKERS in place of the usual one, while the context lasts. A lab of yours has to have them."""
    if not OWN_LAB:
        lab.run("fleet", "lab", "down")
        done = lab.run("fleet", "lab", "up", "--hosts", " ".join(f"{host}=2048" for host in BROKERS))
        assert done.returncode == 0, done.stdout
    elif lab.run("fleet", "lab", "ssh", "broker3", "--", "true").returncode:
        pytest.skip('the lab has no three brokers: fleet lab up --hosts "broker1=2048 broker2=2048 broker3=2048"')
    yield
    if not OWN_LAB:
        lab.run("fleet", "lab", "down")
        lab.run("fleet", "lab", "up", "--hosts", "broker1 web1 batch1 gpu1=2048")


def fleet_of(lab: Lab, folder: Path, **groups: list[str]) -> Path:
    """An inventory of the lab in which these groups have these hosts, more.py, and group data that make its broker a RabbitMQ."""
    (folder / "group_data").mkdir()
    inventory_with(folder, **groups)
    (folder / "group_data" / "web.py").write_text(WEB)
    (folder / "group_data" / "batch.py").write_text((ROOT / "tests" / "online" / "rolling" / "batch.py").read_text())
    more = 'lint_ignore = {"task-time-limit": "the tasks of the shop take seconds"}\n'
    (folder / "group_data" / "all.py").write_text(f'result_backend = "@RESULT_URL"\n{more}')
    secrets = ROOT / ".lab" / NAME / "secrets.env"
    if not (secrets.exists() and "RESULT_URL=" in secrets.read_text()):  # of a lab that a run of these tests has left
        secrets.touch(0o600)
        with secrets.open("a") as file:
            file.write(f"{redis_of_results(lab)}\n")
    set_broker(folder)
    return folder


def redis_of_results(lab: Lab) -> str:
    """Install one on broker1. Returns its line of the secrets file."""
    address = json.loads((ROOT / ".lab" / NAME / "lab.json").read_text())["hosts"]["broker1"]["lan_address"]
    done = lab.run("fleet", "lab", "ssh", "broker1", "--", "sudo", "python3", "-c", shlex.quote(RESULTS), address)
    assert done.returncode == 0, done.stdout
    return next(line for line in done.stdout.splitlines() if line.startswith("RESULT_URL="))


def set_broker(folder: Path, **settings: str | bool) -> None:
    (folder / "group_data" / "broker.py").write_text(f"broker = {(BROKER | settings)!r}\n")


def deployed(lab: Lab, folder: Path) -> str:
    """What a deploy prints."""
    done = lab.deploy(inventory=str(folder / "more.py"), timeout=1800)  # each node takes two minutes to come up
    assert done.returncode == 0, done.stdout
    return done.stdout
