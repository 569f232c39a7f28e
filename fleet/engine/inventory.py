"""pyinfra's inventory → plain values for `fleet.spec`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fleet.engine import checks
from fleet.inventory.places import places_of
from fleet.inventory.read import data_files, file_mistakes, refuse_no_data
from fleet.spec.fleet import Inventory


def gather(inventory: Any) -> Inventory:
    """The whole inventory with its group data, whatever --limit says.

    Groups that pyinfra adds are left out: one a connector (`@ssh`…), and the group of all hosts that is named after the inventory
    file, which comes last among every host's groups.
    """
    groups = {
        name: tuple(host.name for host in hosts) for name, hosts in inventory.groups.items() if hosts and not name.startswith("@")
    }
    last = {[name for name in host.groups if name in groups][-1] for host in inventory}
    if len(last) == 1:
        del groups[last.pop()]
    group_data = frozenset(name for name, data in inventory.group_data.items() if data)
    path = Path(inventory_argument())
    hosts = {host.name: {**host.data.dict()} for host in inventory}
    if path.is_file():
        refuse_no_data(path, data_files(path), hosts)
    elsewhere = {*inventory.override_data, *(key for data in inventory.host_data.values() for key in data)}
    return Inventory(
        hosts=hosts,
        groups=groups,
        group_data=group_data,
        mistakes=file_mistakes(path, group_data) if path.is_file() else (),
        places=places_of(path, data_files(path), elsewhere) if path.is_file() else {},
    )


def explain_down(state: Any) -> str:
    """What a run says of the hosts that pyinfra could not connect to. state: pyinfra's."""
    groups = {name: [host.name for host in hosts] for name, hosts in state.inventory.groups.items() if not name.startswith("@")}
    asked = [host for host in state.inventory if state.is_host_in_limit(host)]
    down = [host.name for host in asked if host in state.failed_hosts]
    loaded = getattr(state, "fleet_loaded", None)  # before it connects, a run has read the settings
    return checks.explain_down(down, [host.name for host in asked], groups, loaded[0].records_host if loaded else "")


def inventory_argument() -> str:
    """The inventory that pyinfra was called with, as it was written."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    files = [word for word in words if word.endswith(".py") and Path(word).is_file()]
    # The value of an option may come first, and the last file is the one to run.
    return next(iter([*files[:-1], *words]), "INVENTORY")


def makes_a_run() -> bool:
    """Whether pyinfra was called with a script that begins a run of the fleet, and not with a command for its hosts (`exec`)."""
    scripts = (Path(word) for word in sys.argv[1:] if word.endswith(".py"))
    return any(b"fleet.engine.start" in script.read_bytes() for script in scripts if script.is_file())
