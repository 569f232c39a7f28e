"""A fleet to look at: its machines are an sshd on loopback, its workers run here. Each machine has a folder of its own for the
files that it keeps, and a systemctl that knows the workers there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.loopback import Sshd, sshd
from fleet_node.protocol import STATE_FOLDER
from tests.unit.fleet_node.delivery.lease_support import leased
from tests.unit.fleet_support import make_app
from tests.unit.process_support import ROOT, Machine

FLEET = str(Path(sys.executable).parent / "fleet")
PASSWORDS = {"WORKER": "worker-password", "MONITOR": "monitor-password", "ADMIN": "admin-password"}
GROUP_DATA = {
    "all": 'celery_app, app_source, secrets_file = "shop.app", "app", "s.env"\n',
    "web": 'web_worker = {"queues": ["default", "quiet"], "concurrency": 4, "instances": 1, "min_consumers": 1}\n',
}
MACHINE = """#!/bin/sh
# What sshd runs for a command: on this machine, {name} has folders and commands of its own.
PATH={bin}:$PATH
command=$(printf '%s' "$SSH_ORIGINAL_COMMAND" | sed 's,{state},{root}/state,g; s,/etc/systemd/system,{root}/etc/systemd/system,g')
exec sh -c "$command"
"""


@dataclass
class Project:
    """A clone's root. here: the machine that the workers run on; machines: all of them, by name."""

    folder: Path
    here: Machine
    machines: dict[str, Machine] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Of commands that are run there."""
        state = {"XDG_STATE_HOME": str(self.folder / "kept"), "PYTHONPATH": str(ROOT)}
        return {**os.environ, "NO_COLOR": "1", "COLUMNS": "250", **state}

    def fleet(self, *words: str, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a fleet command, which ends by itself in a minute."""
        return subprocess.run(
            [FLEET, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def json(self, *words: str) -> Any:
        """What a command prints as JSON."""
        done = self.fleet(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


def allow(redis: Any) -> None:
    """Let the fleet's users in."""
    for user, password in PASSWORDS.items():
        redis.execute_command("ACL", "SETUSER", user.lower(), "on", f">{password}", "~*", "&*", "+@all")


@contextmanager
def project(
    tmp_path: Path,
    *,
    down: bool = False,
    machines: dict[str, str] | None = None,
    group_data: dict[str, str] | None = None,
    external: bool = False,
) -> Iterator[Project]:
    """A fleet of a broker and a web machine. machines: host → role, if others. down: a second web machine does not answer.
    external: the broker is not the fleet's own, and there is no machine for it."""
    folder, hosts = tmp_path / "project", machines or {"web1": "web"}
    folder.mkdir()
    make_app(folder)
    with ExitStack() as stack:
        (tmp_path / "here").mkdir(exist_ok=True)
        here = stack.enter_context(leased(tmp_path / "here", lease=60))
        server = stack.enter_context(sshd(tmp_path / "sshd"))
        with here.redis() as redis:
            allow(redis)
        (folder / "s.env").write_text("".join(f"BROKER_{user}_PASSWORD={value}\n" for user, value in PASSWORDS.items()))
        (folder / "s.env").chmod(0o600)
        made: dict[str, Machine] = {}
        for host, role in hosts.items():
            made[host] = here if not made else Machine(tmp_path / host, here.port, more=here.more)
            made[host].hostname, made[host].role = host, role
            stack.callback(made[host].end)
        reach = {"ssh_hostname": "127.0.0.1", "ssh_port": server.port, "lan_address": "127.0.0.1", "ssh_user": server.user}
        reach["ssh_known_hosts_file"] = str(server.known_hosts)
        groups: dict[str, list[str]] = {}
        for host, role in {**({} if external else {"b": "broker"}), **hosts}.items():
            root = made[host].root if host in made else tmp_path / "b"
            data = {**reach, "ssh_key": str(_key_of(host, root, server))}
            groups.setdefault(role, []).append(f"({host!r}, {data!r})")
        if down:
            groups["web"].append(f"('web2', { ({**reach, 'ssh_port': 9})!r})")
        (folder / "prod.py").write_text("".join(f"{role} = [{', '.join(of)}]\n" for role, of in groups.items()))
        (folder / "group_data").mkdir()
        texts = {"broker": f'broker = {{"port": {here.port}}}\n'} if not external else {}
        texts |= {**GROUP_DATA, **(group_data or {})}
        for name, text in texts.items():
            (folder / "group_data" / f"{name}.py").write_text(text)
        yield Project(folder, here, made)


def _key_of(host: str, root: Path, server: Sshd) -> Path:
    """The key with which sshd takes this machine for `host`. root: its folders."""
    commands = root / "bin"
    commands.mkdir(parents=True)
    (root / "state").mkdir()
    (commands / "uname").write_text(f"#!/bin/sh\necho {host}\n")
    shutil.copy(Path(__file__).parent / "systemctl_stand_in.py", commands / "systemctl")
    (commands / "systemctl").write_text(f"#!{sys.executable}\n" + (commands / "systemctl").read_text())
    shell = root / "machine"
    shell.write_text(MACHINE.format(name=host, bin=commands, state=STATE_FOLDER, root=root))
    for path in (commands / "uname", commands / "systemctl", shell):
        path.chmod(0o700)
    key = root / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host, "-f", str(key)], check=True, stdin=subprocess.DEVNULL
    )
    with (server.folder / "authorized_keys").open("a") as keys:
        keys.write(f'command="{shell}" {key.with_suffix(".pub").read_text()}')
    return key
