"""Vagrant's output, and the inventory or the message that is made of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fleet.inventory import vagrant
from fleet.inventory.read import read_inventory
from fleet.spec.mistakes import SpecError
from lab.errors import LabError
from lab.machines import vagrant_address

ROOT = Path(__file__).parents[4]
ANSWER = """\
[fog][WARNING] Unrecognized arguments: libvirt_ip_command
Host broker1
  HostName 192.168.121.7
  User vagrant
  Port 22
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile "/home/me/my fleet/.vagrant/machines/broker1/libvirt/private_key"
  IdentitiesOnly yes
  LogLevel FATAL

==> web1: a plugin has something to say
Host web1
  HostName 127.0.0.1
  User debian
  Port 2222
  IdentityFile /home/me/.vagrant.d/insecure_private_key

"""
STATES = """\
1795000000,broker1,metadata,provider,libvirt
1795000000,broker1,provider-name,libvirt
1795000000,broker1,state,running
1795000000,broker1,state-human-short,running
1795000000,web1,state,{web1}
1795000000,gpu1,state,{gpu1}
1795000000,,ui,info,Current machine states:
"""


def test_noise_between_the_lines_of_the_answer_is_left_out() -> None:
    assert vagrant.ssh_data(ANSWER) == {
        "broker1": {
            "ssh_hostname": "192.168.121.7",
            "ssh_port": 22,
            "ssh_user": "vagrant",
            "ssh_key": "/home/me/my fleet/.vagrant/machines/broker1/libvirt/private_key",
        },
        "web1": {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": 2222,
            "ssh_user": "debian",
            "ssh_key": "/home/me/.vagrant.d/insecure_private_key",
        },
    }


def test_a_machine_of_another_hypervisor_is_refused() -> None:
    with pytest.raises(vagrant.VagrantError, match="web1: reached through a ProxyCommand"):
        vagrant.ssh_data(ANSWER.rstrip() + "\n  ProxyCommand ssh -W %h:%p elsewhere\n")


@pytest.mark.parametrize(
    ("web1", "gpu1", "why"),
    [
        (
            "shutoff",
            "running",
            "not running: web1 (shutoff); start with: vagrant up web1 (FLEET_WEB and",
        ),
        ("running", "not_created", "not running: gpu1 (not created); start with: vagrant up gpu1"),
        ("running", "running", "vagrant ssh-config: something else"),
    ],
)
def test_a_machine_that_is_down_is_named(web1: str, gpu1: str, why: str) -> None:
    states = vagrant.machine_states(STATES.format(web1=web1, gpu1=gpu1))
    assert list(states) == ["broker1", "web1", "gpu1"]
    assert vagrant.why_not(states, "something else\n").startswith(why)


def test_none_at_all() -> None:
    assert vagrant.why_not({"web1": "not_created"}, "") == (
        "no machine of the Vagrantfile is running: web1 (not created); start them with: vagrant up"
    )


def test_addresses_are_counted_from_the_first_of_a_role() -> None:
    assert [vagrant_address(name) for name in ("broker1", "web1", "web40", "gpu2")] == [
        "192.168.56.11",
        "192.168.56.21",
        "192.168.56.60",
        "192.168.56.102",
    ]
    with pytest.raises(LabError, match="no role 'db'"):
        vagrant_address("db1")


def _stand_in(folder: Path, script: str) -> None:
    (folder / "vagrant").write_text(f"#!/bin/sh\n{script}")
    (folder / "vagrant").chmod(0o755)


def test_the_inventory_asks_once_and_has_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in prints what Vagrant printed; the real one is asked by make vagrant-test."""
    (tmp_path / "answer").write_text(ANSWER)
    _stand_in(tmp_path, f'echo "$*" >>{tmp_path}/asked; cat {tmp_path}/answer\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    project = tmp_path / "project"
    (project / "inventory").mkdir(parents=True)
    shutil.copy(ROOT / "inventory" / "vagrant.py", project / "inventory")
    machine = project / ".vagrant" / "machines" / "web1" / "libvirt"
    machine.mkdir(parents=True)
    (machine / "id").write_text("4f2a")
    for _ in range(2):
        inventory = read_inventory(project / "inventory" / "vagrant.py")
    assert (tmp_path / "asked").read_text() == "ssh-config\n"
    assert inventory.groups == {"broker": ("broker1",), "web": ("web1",)}
    assert inventory.hosts["web1"]["lan_address"] == "192.168.56.21"
    assert inventory.hosts["web1"]["ssh_known_hosts_file"] == str(machine / "known_hosts-4f2a")
    assert (project / ".vagrant" / "secrets.env").stat().st_mode & 0o777 == 0o600


def test_while_another_vagrant_is_at_a_machine_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answer").write_text(ANSWER)
    locked = "Vagrant can't use the requested machine because it is locked! This"
    _stand_in(
        tmp_path, f'[ -e {tmp_path}/asked ] && exec cat {tmp_path}/answer; touch {tmp_path}/asked; echo "{locked}" >&2; exit 1\n'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    vagrant.machines.cache_clear()
    assert list(vagrant.machines(tmp_path)) == ["broker1", "web1"]


def test_the_inventory_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "states").write_text(STATES.format(web1="shutoff", gpu1="running"))
    _stand_in(tmp_path, f'case $1 in status) cat {tmp_path}/states ;; *) echo "Host broker1"; echo no >&2; exit 1 ;; esac\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    vagrant.machines.cache_clear()
    with pytest.raises(SpecError, match=r"not running: web1 \(shutoff\); start with: vagrant up web1"):
        read_inventory(ROOT / "inventory" / "vagrant.py")


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("vagrant"), reason="Vagrant is not installed")
def test_the_vagrantfile_has_the_same_machines_and_more_if_asked(tmp_path: Path) -> None:
    more, machines = {"FLEET_WEB": "3"}, ["broker1", "web1", "web2", "web3", "batch1", "gpu1"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    environment = own | more | {"VAGRANT_DOTFILE_PATH": str(tmp_path), "VAGRANT_HOME": str(tmp_path / "home")}
    asked = ["vagrant", "status", "--machine-readable"]
    done = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert list(vagrant.machine_states(done.stdout)) == machines, done.stdout + done.stderr
