"""The example fleet, resolved for machines that are not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fleet.engine.run import Run
from fleet.inventory.read import read_inventory
from fleet.plan.gpu import Device, GpuReport
from fleet.plan.plan import Plan, resolved
from fleet.spec import secrets
from fleet.spec.fleet import Fleet
from fleet.spec.load import load_fleet
from fleet.state.desired import File, State
from fleet.state.observed import ObservedMachine
from roles import broker, gpu, machine, rabbitmq, worker

ROOT = Path(__file__).parents[2]
SECRETS = {
    secrets.BROKER_WORKER: "worker/password",
    secrets.BROKER_MONITOR: "monitor-password",
    secrets.BROKER_ADMIN: "admin-password",
    secrets.COOKIE: "erlang-cookie",
}
GPUS = GpuReport((Device(0, 0, "GPU-0", "NVIDIA H100"),), on_bus=1, driver="535.261.03", cuda=(12, 2))
MACHINE = ObservedMachine(memory=4 << 30, cores=4, python="3.11", os="debian 12", gpus=GPUS)

Pyinfra = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return load_fleet(read_inventory(ROOT / "inventory" / "prod.py"))


def run_of(fleet: Fleet, secrets: Mapping[str, str] = SECRETS) -> Run:
    """A run over machines that are all alike."""
    return Run(fleet, secrets, (machine, gpu, broker, rabbitmq, worker), dict.fromkeys(fleet.hosts, MACHINE), plan_of(fleet))


def state_of(fleet: Fleet, host: str) -> State:
    """What the workers of `host` should be."""
    return worker.desired(run_of(fleet), fleet.hosts[host])


def plan_of(fleet: Fleet) -> Plan:
    """The fleet on machines that are all alike."""
    return resolved(fleet, dict.fromkeys(fleet.hosts, MACHINE.facts))


def content(state: State, path: str) -> str:
    return file_of(state, path).content.decode()


def file_of(state: State, path: str) -> File:
    (file,) = [file for file in state.files if file.path == path]
    return file


DESCRIBED = {"app": "shop.app", "celery": "5.7.0", "kombu": "5.7.0"}

FAKE = """
import runpy

_fake = {{
    "fake_delay": 0,
    "fake_delay_jitter": 0,
    "fake_responses": {{
        "MemTotal": "memory\\t4194304\\ncores\\t4\\npython\\t3.11\\nos\\tdebian 12\\n"
        "smi\\tGPU 0: NVIDIA H100 (UUID: GPU-0)\\ndriver\\t535.261.03\\t12.2\\n" + {machine_lines!r} + "end",
        "fleet_node.app.check": {described!r},
        "fleet_node.app.unregistered": 'fleet-tasks: {{"unregistered": {{}}, "looked_at": 0, "not_looked_at": 0}}',
        "fleet_node.step": 'fleet-step: {{"ok": true, "units": {{}}, "notes": []}}',
    }},
}}
_ours = {{"secrets_file": {secrets!r}, "app_source": {source!r}, **_fake}}
for _group, _hosts in runpy.run_path({inventory!r}).items():
    if isinstance(_hosts, list) and not _group.startswith("_"):
        _pairs = [(_host, {{}}) if isinstance(_host, str) else _host for _host in _hosts]
        globals()[_group] = [("@fake/" + _host, {{**_ours, **_data}}) for _host, _data in _pairs]
{more}
"""


@pytest.fixture
def pyinfra(tmp_path: Path) -> Pyinfra:
    """pyinfra(*arguments, more="", group_data=…) runs deploy.py against inventory/prod.py with every host a fake.

    more: Python appended to the inventory. group_data: file name → text, in place of the project's own. described: the app's
    description on every host. script: run in place of deploy.py. machine_lines: what the probe prints besides on every host.
    """
    secrets_file = tmp_path / "secrets.env"
    secrets.ensure(secrets_file)

    def run(
        *arguments: str,
        more: str = "",
        group_data: dict[str, str] | None = None,
        source: str | None = None,
        described: dict[str, Any] | None = None,
        script: str = "deploy.py",
        machine_lines: Iterable[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "fleet.py"
        path.write_text(
            FAKE.format(
                secrets=str(secrets_file),
                described="fleet-app: " + json.dumps(described or DESCRIBED),
                source=source or str(ROOT / "examples" / "shop"),
                inventory=str(ROOT / "inventory" / "prod.py"),
                more=more,
                machine_lines="".join(f"{line}\n" for line in machine_lines),
            )
        )
        cwd = ROOT
        if group_data is not None:
            cwd = tmp_path / "project"
            cwd.mkdir(exist_ok=True)
            for name in ("deploy.py", "config.py", "roles", "fleet", "fleet_node", "templates", "requirements"):
                if not (cwd / name).exists():
                    (cwd / name).symlink_to(ROOT / name)
            (cwd / "group_data").mkdir(exist_ok=True)
            for file in (ROOT / "group_data").glob("*.py"):
                (cwd / "group_data" / file.name).write_text(file.read_text())
            for name, text in group_data.items():
                (cwd / "group_data" / name).write_text(text)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
        command = [str(Path(sys.executable).parent / "pyinfra"), str(path), script, *arguments]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run
