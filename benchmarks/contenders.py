"""Three ways to reach N hosts behind one sshd: celery-fleet's roles, an Ansible playbook, and plain ssh."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from getpass import getuser
from grp import getgrgid
from hashlib import sha256
from pathlib import Path

from benchmarks.loopback import ADDRESS, Sshd
from fleet.spec import secrets

ROOT = Path(__file__).parent.parent
HERE = ROOT / "benchmarks" / "worker_machine"
NAMES = ("celery-fleet", "Ansible", "ssh")
END_S = 5

Tree = Mapping[str, tuple[object, ...]]


class BenchmarkError(Exception):
    """The benchmark cannot be run, or its contenders do not reach the same state. str() says why."""


def compile_bytecode(ansible: Path) -> None:
    """Give both contenders' packages bytecode, as an installation has it: pyinfra writes none for what a deploy file imports."""
    compile_all = (
        "import compileall, sys, sysconfig; "
        "[compileall.compile_dir(folder, quiet=2) for folder in (sysconfig.get_path('purelib'), *sys.argv[1:])]"
    )
    for command, folders in ((Path(sys.executable), ["fleet", "roles"]), (ansible, [])):
        # Only in a venv: a distribution looks after its own packages.
        if (command.parent.parent / "pyvenv.cfg").exists():
            subprocess.run([command.parent / "python", "-c", compile_all, *folders], cwd=ROOT, check=False, capture_output=True)


class Contest:
    """N hosts, each a directory, and the contenders that bring them to a worker machine's state."""

    def __init__(self, folder: Path, server: Sshd, hosts: int, ansible: Path) -> None:
        """folder: an empty folder for all files; ansible: the `ansible-playbook` command."""
        self.names = [f"web{number}" for number in range(1, hosts + 1)]
        self._server, self._folder, self._ansible = server, folder, ansible
        self._top, self._sources, self._log = folder / "hosts", folder / "sources", folder / "log"
        self._control = folder / "control"
        self._control.mkdir()
        self._write_inventories()

    def wipe(self) -> None:
        """Make every host anew, with the few directories that any machine has."""
        shutil.rmtree(self._top, ignore_errors=True)
        for name in self.names:
            for path in ("etc/systemd/system", "var/lib", "opt"):
                (self._top / name / path).mkdir(parents=True)

    def rehearse(self) -> None:
        """Run celery-fleet once, untimed. The playbook copies the files that it wrote."""
        self.wipe()
        self.run("celery-fleet")
        shutil.copytree(self._top / self.names[0], self._sources)

    def run(self, who: str) -> float:
        """Let one contender deploy to all hosts. Returns the seconds that it took, start of processes included."""
        started = time.perf_counter()
        if who == "celery-fleet":
            pyinfra = str(Path(sys.executable).parent / "pyinfra")
            deploy = str(HERE / "deploy.py")
            self._finish([self._start([pyinfra, str(self._folder / "fleet.py"), deploy, "-y"], {"FLEET_BENCH": str(self._top)})])
        elif who == "Ansible":
            environment = {"ANSIBLE_CONFIG": str(self._folder / "ansible.cfg"), "ANSIBLE_HOME": str(self._folder / "ansible")}
            self._finish([self._start([str(self._ansible), str(HERE / "playbook.yml")], environment)])
        else:
            self._finish([self._start(self._server.ssh("true"), {}) for _ in self.names])
        seconds = time.perf_counter() - started
        self.hang_up()
        return seconds

    def hang_up(self) -> None:
        """End the connections that Ansible keeps: the next run is another deploy, which makes its own."""
        for path in self._control.iterdir():
            command = ["ssh", "-F", "/dev/null", "-o", f"ControlPath={path}", "-O", "exit", ADDRESS]
            subprocess.run(command, check=False, capture_output=True)

    def state(self, with_times: bool = False) -> dict[str, Tree]:
        """The files of every host: path → type, mode, owner, content's hash. with_times: inode and time of change too."""
        return {name: _tree(self._top / name, with_times) for name in self.names}

    def _start(self, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env={**inherited, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _finish(self, processes: list[subprocess.Popen[bytes]]) -> None:
        try:
            codes = [process.wait() for process in processes]
        except BaseException:
            for process in processes:
                _end(process)
            self.hang_up()
            raise
        if any(codes):
            end = "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])
            raise BenchmarkError(f"{processes[0].args!r} failed; the end of its log:\n{end}")

    def _write_inventories(self) -> None:
        server = self._server
        password = self._folder / "secrets.env"
        secrets.ensure(password)
        connection = {
            "ssh_hostname": ADDRESS,
            "ssh_port": server.port,
            "ssh_user": server.user,
            "ssh_key": str(server.key),
            "ssh_known_hosts_file": str(server.known_hosts),
            "ssh_strict_host_key_checking": "yes",
            "lan_address": ADDRESS,
            "secrets_file": str(password),
            "_sudo": False,
        }
        # The settings are the project's own group data. The workers need a broker's name; its role is not deployed.
        (self._folder / "fleet.py").write_text(
            f"web = {[(name, connection) for name in self.names]!r}\nbroker = {self.names[:1]!r}\n"
        )
        variables = {
            "ansible_host": ADDRESS,
            "ansible_port": server.port,
            "ansible_user": server.user,
            "ansible_python_interpreter": "/usr/bin/python3",
            "owner": getuser(),
            "group": getgrgid(os.getgid()).gr_name,
            "sources": str(self._sources),
            "templates": str(ROOT / "templates"),
            "destdir": f"{self._top}/{{{{ inventory_hostname }}}}",
            # By default hosts of one address and port would share a connection, as machines never do.
            "ansible_control_path": f"{self._control}/{{{{ inventory_hostname }}}}",
        }
        inventory = {"web": {"hosts": {name: {} for name in self.names}, "vars": variables}}
        (self._folder / "hosts.json").write_text(json.dumps(inventory))
        arguments = " ".join([*server.options, "-o ControlMaster=auto", "-o ControlPersist=60s"])
        (self._folder / "ansible.cfg").write_text(
            f"[defaults]\ninventory = {self._folder}/hosts.json\nforks = {len(self.names)}\n"
            f"remote_tmp = {self._folder}/remote\nlocal_tmp = {self._folder}/local\n"
            f"[ssh_connection]\npipelining = True\nssh_args = {arguments}\n"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: it leads a session of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            continue


def _tree(top: Path, with_times: bool) -> Tree:
    entries: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        about = path.lstat()
        digest = sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        times = (about.st_ino, about.st_ctime_ns) if with_times else ()
        entries[str(path.relative_to(top))] = (oct(about.st_mode), about.st_uid, about.st_gid, digest, *times)
    return entries
