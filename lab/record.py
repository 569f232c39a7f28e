"""Write a lab's record, lab.json, before any machine of it is started."""

from pathlib import Path

from lab import ports, process, ssh, state
from lab.guest_files import USER
from lab.machines import Machine
from lab.state import Host, Lab


def record(name: str, directory: Path, place: Path, known: Lab | None, requested: list[Machine]) -> Lab:
    """Choose ports, make the keys, write lab.json and known_hosts. Returns the lab.

    `place`: the image's directory. `known`: the recorded lab, or None for a new lab; a known machine keeps its port, unless it
    is down and another program took the port. `requested`: machines that the lab must have.
    """
    have = dict(known.hosts) if known else {}
    for machine in requested:
        old = have.get(machine.name)
        runs = process.pid_of(directory / f"{machine.name}.pid") is not None
        if old and (runs or ports.tcp_is_free(old.ssh_port)):
            continue
        taken = frozenset(host.ssh_port for host in have.values())
        (port,) = ports.choose(1, str(directory), ports.tcp_is_free, taken)
        have[machine.name] = Host(
            ssh_hostname="127.0.0.1",
            ssh_port=port,
            lan_address=machine.address,
            memory_mb=machine.memory_mb,
            console=str(directory / f"{machine.name}.console.log"),
        )
    if known:
        multicast = known.multicast
    else:
        (port,) = ports.choose(1, f"{directory} LAN", ports.udp_is_free)
        multicast = f"{ports.multicast_group(str(directory))}:{port}"
    lab = Lab(
        name=name,
        user=USER,
        key=str(directory / "id_ed25519"),
        known_hosts=str(directory / "known_hosts"),
        multicast=multicast,
        image=str(place),
        hosts=have,
    )
    ssh.make_key(Path(lab.key), f"lab-{name}")
    lines = []
    for host, at in have.items():
        key = lab.file(host, "host_key")
        ssh.make_key(key, host)
        lines.append(f"[{at.ssh_hostname}]:{at.ssh_port} {Path(f'{key}.pub').read_text()}")
    Path(lab.known_hosts).write_text("".join(lines))
    state.write(lab)
    return lab
