"""The machines of a lab: their names, memory and addresses."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab.errors import LabError

ROLES = json.loads(Path(__file__).with_name("machines.json").read_text())
"""Role → how many machines, memory in MiB, and the first one's address under Vagrant. The Vagrantfile reads the same file."""
DEFAULT_HOSTS = " ".join(f"{role}{n}" for role, settings in ROLES.items() for n in range(1, settings["machines"] + 1))
DEFAULT_MEMORY_MB = 1024
MIN_MEMORY_MB = 256
FIRST_ADDRESS = 11
MAX_MACHINES = 240

_HOST = re.compile(r"(?P<role>[a-z](?:[a-z-]{0,30}[a-z])?)(?P<number>[1-9][0-9]{0,3})")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Machine:
    """One machine. `memory_mb` in MiB; `address` on the LAN between the machines, 10.77.0.0/24."""

    name: str
    roles: tuple[str, ...]
    memory_mb: int
    address: str


def lan_address(index: int) -> str:
    """The LAN address of the machine at `index` (from 0) of the lab's list: 10.77.0.11, .12 …"""
    if index >= MAX_MACHINES:
        raise LabError(f"a lab has at most {MAX_MACHINES} machines")
    return f"10.77.0.{FIRST_ADDRESS + index}"


def parse_host(word: str) -> tuple[str, str, int | None]:
    """ "web2=1536" → ("web2", "web", 1536); "web2" → ("web2", "web", None). Memory in MiB. `LabError` otherwise."""
    name, equals, memory = word.partition("=")
    match = _HOST.fullmatch(name)
    if not match:
        raise LabError(f"host {name!r}: write a role and a number, as in web1 or batch2 (memory: web1=1536)")
    if not equals:
        return name, match["role"], None
    if not memory.isdecimal() or int(memory) < MIN_MEMORY_MB:
        raise LabError(f"host {name!r}: memory {memory!r} is not a number of MB from {MIN_MEMORY_MB}, as in {name}=1536")
    return name, match["role"], int(memory)


def parse_hosts(text: str, known: Sequence[Machine] = ()) -> list[Machine]:
    """The machines that `--hosts` asks for, in its order.

    `known`: the machines that the lab has already. A known machine keeps its address and memory; a new machine gets the next
    address. Raises `LabError` for a bad or doubled name, and for a known machine with other memory.
    """
    have = {machine.name: machine for machine in known}
    requested: dict[str, Machine] = {}
    for word in text.replace(",", " ").split():
        name, role, memory = parse_host(word)
        if name in requested:
            raise LabError(f"host {name!r} is named twice")
        if name in have:
            if memory not in (None, have[name].memory_mb):
                raise LabError(f"{name} has {have[name].memory_mb} MB in this lab: take the lab down to change that")
            requested[name] = have[name]
        else:
            new = len(known) + sum(n not in have for n in requested)
            requested[name] = Machine(
                name, (role,), memory or ROLES.get(role, {}).get("memory_mb", DEFAULT_MEMORY_MB), lan_address(new)
            )
    if not requested:
        raise LabError(f'no hosts: write them as in --hosts "{DEFAULT_HOSTS}"')
    return list(requested.values())


def default_machines() -> list[Machine]:
    """The lab of the demo: a broker and one worker of each kind, 1024 MB each."""
    return parse_hosts(DEFAULT_HOSTS)


def vagrant_address(name: str) -> str:
    """A machine's private address in the Vagrantfile: web1 → 192.168.56.21, web2 → .22. Raises `LabError` for another role."""
    name, role, _ = parse_host(name)
    if role not in ROLES:
        raise LabError(f"host {name!r}: the Vagrantfile has no role {role!r}, but {', '.join(ROLES)}")
    return str(IPv4Address(ROLES[role]["vagrant_address"]) + int(name.removeprefix(role)) - 1)


def groups(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A pyinfra inventory of these machines, name → its data: `all`, and a group for each role, as web of web1 and web2."""
    made: dict[str, list[Any]] = {"all": []}
    for name, connection in hosts.items():
        role = parse_host(name)[1]
        # A stand-in: a virtual machine has no device, and the demo's GPU task computes without.
        device = {"gpus": 1, "nvidia": {"driver": "none"}} if role == "gpu" else {}
        made["all"].append((name, {**connection, **device}))
        made.setdefault(role, []).append(name)
    return made


def check_lab_name(name: str) -> str:
    """`name` if it can name a lab (and so a directory): small letters, digits, hyphens. `LabError` otherwise."""
    if not _NAME.fullmatch(name):
        raise LabError(f"lab name {name!r}: write small letters, digits and hyphens, at most 31, as in lab or try-2")
    return name
