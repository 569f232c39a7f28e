"""The machines of the Vagrantfile: how SSH reaches each, or which of them is down.

pyinfra's own `@vagrant` leaves out a machine that does not answer, and reads every line that Vagrant prints as its answer.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fleet.errors import FleetError

TIMEOUT_S = 120
# Plugins print warnings on stdout between the lines of the answer.
_ANSWER = re.compile(r"(Host|  [A-Z][A-Za-z]+) (.+)")

_LOCKED = "because it is locked!"


class VagrantError(FleetError):
    """Vagrant has no running machines. str() names each that does not run, and what to do."""


def state_folder(root: Path) -> Path:
    """The folder in which Vagrant keeps the state of the machines of the Vagrantfile in `root`."""
    return root / (os.environ.get("VAGRANT_DOTFILE_PATH") or ".vagrant")


@cache
def machines(root: Path) -> dict[str, dict[str, Any]]:
    """Machine → pyinfra's connection data, for every machine of the Vagrantfile in `root`.

    Vagrant is asked once a run. While another Vagrant holds the lock of the same machines, it is asked again, for TIMEOUT_S.
    Raises VagrantError, which names each machine that is not running.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        status, output, errors = _vagrant(root, "ssh-config")
        if _LOCKED not in errors or time.monotonic() > deadline:
            break
        time.sleep(1)
    if status == 0 and (reachable := ssh_data(output)):
        return {name: data | _known_hosts(root, name) for name, data in reachable.items()}
    _, states, _ = _vagrant(root, "status", "--machine-readable")
    raise VagrantError(why_not(machine_states(states), errors or output))


def ssh_data(output: str) -> dict[str, dict[str, Any]]:
    """`vagrant ssh-config` → machine → data of pyinfra's SSH connector. Other lines are left out.

    Raises VagrantError for a machine that is reached through a ProxyCommand, as on another machine's libvirt.
    """
    options: dict[str, dict[str, str]] = {}
    for match in filter(None, map(_ANSWER.fullmatch, output.splitlines())):
        if match[1] == "Host":
            options[match[2]] = {}
        elif options:
            options[next(reversed(options))].setdefault(match[1].strip(), match[2].strip('"'))
    if through := [name for name, values in options.items() if "ProxyCommand" in values]:
        raise VagrantError(f"{', '.join(through)}: reached through a ProxyCommand, which inventory/vagrant.py does not know")
    return {
        name: {
            "ssh_hostname": values["HostName"],
            "ssh_port": int(values["Port"]),
            "ssh_user": values["User"],
            "ssh_key": values["IdentityFile"],
        }
        for name, values in options.items()
    }


def machine_states(output: str) -> dict[str, str]:
    """`vagrant status --machine-readable` → machine → its state, as in running or poweroff."""
    rows = (line.split(",") for line in output.splitlines())
    return {row[1]: row[3] for row in rows if len(row) >= 4 and row[1] and row[2] == "state"}


def why_not(states: Mapping[str, str], output: str) -> str:
    """The message for the user if `vagrant ssh-config` failed with `output`. states: machine → state."""
    down = [f"{name} ({state.replace('_', ' ')})" for name, state in states.items() if state != "running"]
    if not down:
        return f"vagrant ssh-config: {output.strip() or 'it named no machine'}"
    if len(down) == len(states):
        return f"no machine of the Vagrantfile is running: {', '.join(down)}; start them with: vagrant up"
    names = " ".join(word.split()[0] for word in down)
    return f"not running: {', '.join(down)}; start with: vagrant up {names} (FLEET_WEB and the like count in every command)"


def _known_hosts(root: Path, name: str) -> dict[str, str]:
    """A known_hosts file for each machine that was ever made, by its id: a rebuilt machine of the same name has another key."""
    for path in (state_folder(root) / "machines" / name).glob("*/id"):
        return {"ssh_known_hosts_file": str(path.with_name(f"known_hosts-{path.read_text().strip()}"))}
    return {}


def _vagrant(root: Path, *words: str) -> tuple[int, str, str]:
    """Run vagrant: (exit code, stdout, stderr)."""
    try:
        done = subprocess.run(
            ["vagrant", *words],
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise VagrantError("vagrant: no such command; install Vagrant, or use inventory/lab.py") from None
    except subprocess.TimeoutExpired:
        raise VagrantError(f"vagrant {words[0]} gave no answer in {TIMEOUT_S} s") from None
    return done.returncode, done.stdout, done.stderr
