"""A Redis that somebody else runs on these machines, with a replica and three sentinels: its primary is killed under load."""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise

import pytest

from tests.online.conftest import NAME, ROOT, Lab
from tests.unit.fleet_node.delivery.lease_support import until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HOSTS = ("broker1", "web1", "batch1")
PORT, SENTINEL_PORT, MASTER_NAME = 6390, 26390, "shop"
CONSTANTS = {"PORT": PORT, "SENTINEL_PORT": SENTINEL_PORT, "MASTER_NAME": MASTER_NAME}
INVENTORY = """
import runpy
_lab = runpy.run_path({lab!r})
_data = {{name: {{key: value for key, value in data.items() if key != "secrets_file"}} for name, data in _lab["all"]}}
web, batch = ([(name, _data[name]) for name in _lab[role]] for role in ("web", "batch"))
"""
SETUP = r"""
import pathlib, secrets, shutil, subprocess, sys
role, address, primary = sys.argv[1:]
password = sys.stdin.readline().strip()
if not shutil.which("redis-server"):
    subprocess.run(["apt-get", "install", "-qq", "redis-server"], check=True, capture_output=True)
folder = pathlib.Path("/var/lib/other-redis")
folder.mkdir(exist_ok=True)
data = f'''
bind {address}
port {PORT}
dir {folder}
requirepass {password}
masterauth {password}
maxmemory 100mb
maxmemory-policy noeviction
appendonly yes
repl-diskless-sync-delay 0
'''
if role == "replica":
    data += f"replicaof {primary} {PORT}\n"
watch = f'''
bind {address}
port {SENTINEL_PORT}
dir {folder}
protected-mode no
sentinel monitor {MASTER_NAME} {primary} {PORT} 2
sentinel auth-pass {MASTER_NAME} {password}
sentinel down-after-milliseconds {MASTER_NAME} 3000
'''
for name, text in {"redis": data if role != "sentinel" else "", "sentinel": watch}.items():
    unit = f"other-{name}.service"
    subprocess.run(["systemctl", "stop", unit], stderr=subprocess.DEVNULL)
    if text:
        file = folder / f"{name}.conf"
        file.touch(0o600)
        file.write_text(text)
        shutil.chown(folder, "redis")
        shutil.chown(file, "redis")
        command = ["redis-server", str(file)] + (["--sentinel"] if name == "sentinel" else [])
        subprocess.run(["systemd-run", "-q", f"--unit={unit}", "-p", "User=redis", *command], check=True)
"""
"""As root on each machine. The password comes by its standard input."""
LOAD = """
import json, time
from celery.exceptions import OperationalError
from shop.app import app
from shop.tasks.reports import count_primes
app.conf.broker_transport_options = {"master_name": MASTER_NAME, "socket_timeout": 3, "socket_connect_timeout": 3}
app.conf.result_backend_transport_options = {"master_name": MASTER_NAME, "socket_timeout": 3}
sent, refused, end = [], 0, time.time() + 90
while time.time() < end:
    try:
        sent.append(count_primes.apply_async([20], queue="batch", retry=False).id)
        if len(sent) == 20:
            open("/var/lib/celery/batch/under-load", "w").close()
    except Exception:
        refused += 1  # and it is sent again, as a producer does
    time.sleep(0.3)
ended, deadline = {}, time.time() + 120
while len(ended) < len(sent) and time.time() < deadline:
    for task in sent:
        try:
            if task not in ended and (meta := app.backend.get_task_meta(task))["status"] == "SUCCESS":
                ended[task] = meta["date_done"]
        except Exception:
            break
    time.sleep(1)
print(json.dumps({"sent": len(sent), "refused": refused, "ended": sorted(ended.values())}))
"""
AS_WORKER = """
import os, subprocess, sys
unit, script = sys.argv[1:]
pid = subprocess.check_output(["systemctl", "show", "--value", "--property=MainPID", unit], text=True).strip()
lines = open(f"/proc/{pid}/environ").read().split(chr(0))
environment = dict(line.split("=", 1) for line in lines if line)
python = f"/opt/fleet/releases/{environment['FLEET_RELEASE']}/venv/bin/python"
sys.exit(subprocess.run([python, "-c", script], env=environment, cwd="/", user="celery", group="celery").returncode)
"""
"""Runs a script as a producer on a worker's machine, with the worker's environment."""


def addresses() -> dict[str, str]:
    hosts = json.loads((ROOT / ".lab" / NAME / "lab.json").read_text())["hosts"]
    return {host: hosts[host]["lan_address"] for host in HOSTS}


@pytest.fixture(scope="module")
def inventory(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fleet without a broker host, deployed."""
    folder = tmp_path_factory.mktemp("sentinel")
    password = secrets.token_urlsafe(16)
    where = addresses()
    for host, role in zip(HOSTS, ("primary", "replica", "sentinel"), strict=True):
        on_machine(lab, host, filled(SETUP), role, where[host], where["broker1"], stdin=f"{password}\n")
    first, *others = (f"{address}:{SENTINEL_PORT}/0" for address in where.values())
    url = ";".join((f"sentinel://:{password}@{first}", *(f"sentinel://{other}" for other in others)))
    (folder / "s.env").touch(0o600)
    (folder / "s.env").write_text(f"BROKER_URL={url}\n")
    (folder / "prod.py").write_text(INVENTORY.format(lab=str(ROOT / "inventory" / "lab.py")))
    data = folder / "group_data"
    data.mkdir()
    (data / "all.py").write_text(
        f'broker = {{"url": "@BROKER_URL", "master_name": "{MASTER_NAME}"}}\n'
        f'secrets_file = "{folder / "s.env"}"\n'
        'lint_ignore = {"task-time-limit": "the tasks of the shop take seconds"}\n'
    )
    (data / "web.py").write_text('web_worker = {"queues": ["default", "priority", "ml"], "workload": "io", "time_limit": 60}\n')
    (data / "batch.py").write_text((ROOT / "tests" / "online" / "rolling" / "batch.py").read_text())
    file = str(folder / "prod.py")
    done = lab.deploy(inventory=file)
    assert done.returncode == 0, done.stdout
    yield file
    for host in HOSTS:
        lab.ask(host, "systemctl stop other-redis.service other-sentinel.service 2>/dev/null || true")


def filled(script: str) -> str:
    """A script with this file's constants."""
    return "\n".join([*(f"{name} = {value!r}" for name, value in CONSTANTS.items()), script])


def on_machine(lab: Lab, host: str, script: str, *arguments: str, stdin: str = "") -> str:
    """Run a script of Python's as root on a machine. Returns what it prints. Asserts that it succeeds."""
    command = ("fleet", "lab", "ssh", host, "--", "sudo", "python3", "-c", *map(shlex.quote, (script, *arguments)))
    done = subprocess.run(
        command, cwd=ROOT, env=lab.environment, input=stdin, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_fleet_is_well(lab: Lab, inventory: str) -> None:
    done = lab.run("pytest", "-q", "--tb=short", "tests/host", "--inventory", inventory)
    assert done.returncode == 0, done.stdout
    done = lab.run("fleet", "status", inventory)
    assert done.returncode == 0, done.stdout
    done = lab.deploy(inventory=inventory)
    assert done.returncode == 0, done.stdout
    for words in ("Write changed files", "Start services", "Restart outdated services"):
        assert f"Starting operation: {words}" not in done.stdout


@pytest.mark.parametrize("name", ["kill-worker", "partition"])
def test_no_task_is_lost(lab: Lab, inventory: str, name: str) -> None:
    """A broker of others is not restarted; what is ours is broken with it."""
    account = lab.drill(name, inventory=inventory)
    assert account["sent"] == account["finished"] > 20
    assert account["lost"] == 0


def test_a_primary_that_is_killed_under_load(lab: Lab, inventory: str) -> None:
    """With a replica that keeps up, nothing is lost, and workers are back within 15 seconds."""
    started = "/var/lib/celery/batch/under-load"
    lab.ask("batch1", f"rm -f {started}")
    with ThreadPoolExecutor() as pool:
        load = pool.submit(on_machine, lab, "batch1", AS_WORKER, "celery-batch@1", filled(LOAD))
        assert until(lambda: load.done() or lab.ask("batch1", f"test -e {started} && echo yes || true") == "yes", 120)
        assert not load.done(), load.result()
        killed = float(lab.ask("batch1", "date +%s"))  # clocks of machines differ
        lab.ask("broker1", "systemctl kill --signal=KILL other-redis.service")
        account = json.loads(load.result())
    ended = [datetime.fromisoformat(at).timestamp() for at in account["ended"]]
    assert account["refused"] > 0
    assert len(ended) == account["sent"] > 60
    pause = max(later - earlier for earlier, later in pairwise(ended) if later > killed)
    assert pause < 15
    replica = addresses()["web1"]
    answer = lab.ask("web1", f"redis-cli -h {replica} -p {SENTINEL_PORT} sentinel get-master-addr-by-name {MASTER_NAME}")
    assert answer.split()[0] == replica
    done = lab.run("fleet", "status", inventory)
    assert done.returncode == 0, done.stdout
