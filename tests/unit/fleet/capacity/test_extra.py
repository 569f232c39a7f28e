"""One worker more of a role, beside one that runs: on which machines, and what its unit is."""

import re
import shlex
import subprocess

import pytest

from fleet.capacity.extra import Extra, command, extras
from tests.unit.fleet_support import fleet_of, plan_of

pytestmark = pytest.mark.usefixtures("app_folder")
UNIT = """[Service]
Environment=FLEET_REVISION=abc
RuntimeDirectory=celery-web-1
ExecStart=/opt/celery worker --hostname=web-worker-1@%H --queues=default
ExecStop=/opt/python -m fleet_node.drain web-worker-1@%H 60
Restart=always
SyslogIdentifier=celery-web@1

[Install]
WantedBy=fleet.target
"""


def test_one_a_machine_until_it_is_enough_and_none_that_computes() -> None:
    web = {"queues": ["default"], "workload": "io", "concurrency": 10, "instances": 2}
    batch = {"queues": ["batch"], "concurrency": 4, "instances": 1}
    plan = plan_of(fleet_of({"web": web, "batch": batch}, hosts_a_role=3))
    assert [(one.host, one.unit, one.slots) for one in extras(plan, ["web"], 15)] == [
        ("web1", "celery-web@1-extra.service", 10),
        ("web2", "celery-web@1-extra.service", 10),
    ]
    assert len(extras(plan, ["web"], 1000)) == 3
    assert extras(plan, ["batch"], 5) == []


def test_its_unit_is_that_of_the_worker_under_another_name_and_starts_once() -> None:
    text = command(Extra("web1", "web", 1, 10, 1 << 20), 300)
    sed = re.search(r"(sed .*?) /etc/systemd", text)
    assert sed
    made = subprocess.run(shlex.split(sed[1]), input=UNIT, capture_output=True, text=True, check=True).stdout
    assert made.splitlines() == [
        "[Service]",
        "Environment=FLEET_REVISION=abc",
        "RuntimeDirectory=celery-web-1-extra",
        "ExecStart=/opt/celery worker --hostname=web-worker-1-extra@%H --queues=default",
        "ExecStop=/opt/python -m fleet_node.drain web-worker-1-extra@%H 60",
        "Restart=no",
        "SyslogIdentifier=celery-web@1-extra",
        "",
    ]
    assert subprocess.run(["sh", "-n", "-c", text], check=False).returncode == 0
