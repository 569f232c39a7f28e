"""`fleet retire`: what it refuses, and what it does, with a real Redis and real workers.

A machine is a folder here, and SSH to it is sh, with a systemctl that starts and ends nothing but processes of the test.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from benchmarks.loopback import sshd
from fleet.broker import connect
from fleet.broker.port import Port, opened
from fleet.cli.main import app
from fleet.inventory import last_facts, ssh
from fleet.plan.facts import MachineFacts
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER
from tests.unit.fleet.cli.cli_support import fleet, make_project
from tests.unit.fleet_node.delivery.lease_support import begun, kill, leased, send, until
from tests.unit.process_support import ROOT, Machine
from tests.unit.shop_support import PATIENCE

LEASE = 20  # seconds: it ends after the test
HELD = """
import pathlib, time
@app.task(name="held")
def held():
    folder = pathlib.Path("{folder}")
    (folder / "begun").touch()
    while not (folder / "let go").exists():
        time.sleep(0.05)
    (folder / "ended").touch()
"""
SYSTEMCTL = """#!/bin/sh
state() {
  pid=$(cat "$ROOT/pid.$1" 2>/dev/null)
  case $(sed 's/.*) \\(.\\).*/\\1/' "/proc/$pid/stat" 2>/dev/null) in Z | '') echo inactive ;; *) echo active ;; esac
}
case $1 in
  is-active) state "$2" ;;
  show) case $3 in *ActiveState) state "$4" ;; esac ;;
  stop) shift 2; for unit in "$@"; do kill -TERM "$(cat "$ROOT/pid.$unit")"; done ;;
esac
"""
REMOTE = """
import os, subprocess, sys
root, host, command = sys.argv[1:]
if not os.path.isdir(root):
    sys.stderr.write(f"ssh: connect to host {host} port 22: No route to host\\n")
    sys.exit(255)
for path in ("/var/lib", "/opt/fleet", "/etc/fleet", "/etc/systemd", "/run/"):
    command = command.replace(path, root + path)
os.environ["PATH"] = f"{root}/bin:{os.environ['PATH']}"
os.environ["ROOT"] = root
with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, text=True) as process:
    for line in process.stdout:
        print(line.replace(root, ""), end="", flush=True)
sys.exit(process.returncode)
"""


class Fleet:
    """A fleet of folders: broker1, and machines with web workers. here: the workers' processes, and their Redis."""

    def __init__(self, project: Path, here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project, self.here = project, here
        (project / "app").mkdir()
        (project / "app" / "requirements.txt").write_text("celery==5.7.0\nredis==8.1.0\n")
        (project / "group_data").mkdir()
        everywhere = f"celery_app = 'jobs'\napp_source = 'app'\nsecrets_file = 's.env'\nlease = {LEASE}\n"
        (project / "group_data" / "all.py").write_text(everywhere)
        (project / "group_data" / "web.py").write_text("web_worker = {'queues': ['default'], 'concurrency': 1}\n")
        (project / "prod.py").write_text("broker = [('broker1', {'lan_address': '127.0.0.1'})]\nweb = ['web1', 'test']\n")
        (project / "s.env").write_text(f"{BROKER_WORKER}=a\n{BROKER_MONITOR}=b\n")
        (project / "s.env").chmod(0o600)
        (project / "remote.py").write_text(REMOTE)
        monkeypatch.chdir(project)

        def ssh_command(host: str, _: Mapping[str, Any], *more: int) -> list[str]:
            return [sys.executable, str(project / "remote.py"), str(project / host), host]

        @contextmanager
        def read_session(*_: Any) -> Iterator[Port]:
            with opened(f"redis://127.0.0.1:{here.port}/0") as port:
                yield port

        monkeypatch.setattr(ssh, "ssh_command", ssh_command)
        monkeypatch.setattr(connect, "read_session", read_session)
        monkeypatch.setattr(
            "fleet.plan.process.celery_variables", lambda *_, **__: {"CELERY_BROKER_URL": f"redis://127.0.0.1:{here.port}/0"}
        )
        self.boot("broker1")

    def boot(self, host: str) -> Path:
        """A machine without anything."""
        root = self.project / host
        for name in ("bin", "var/lib/celery", "etc/systemd/system", "run/systemd/system"):
            (root / name).mkdir(parents=True)
        programs = {"systemctl": SYSTEMCTL, "uname": f"#!/bin/sh\necho {host}\n", "runuser": '#!/bin/sh\nshift 3\nexec "$@"\n'}
        for name, text in programs.items():
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        return root

    def install(self, host: str, number: int, release: Path) -> Path:
        """A machine with a release, and the unit of a web worker. If the worker runs, that is its process."""
        root = self.boot(host)
        unit = f"celery-web@{number}.service"
        folder = root / "opt/fleet/releases" / release.name
        (folder / "venv/bin").mkdir(parents=True)
        (folder / "src").symlink_to(release)
        (folder / "node").mkdir()
        (folder / "node/fleet_node").symlink_to(ROOT / "fleet_node")
        (folder / "venv/bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (folder / "venv/bin/python").chmod(0o755)
        text = f"TimeoutStopSec=30\nExecStart={folder}/venv/bin/celery\n"
        (root / "etc/systemd/system" / unit).write_text(text)
        (root / "etc/fleet").mkdir()
        (root / "etc/fleet/web.env").write_text("SECRET=x\n")
        if unit in self.here.running:
            (root / f"pid.{unit}").write_text(str(self.here.running[unit].pid))
        return root

    def retire(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["retire", "prod.py", *words])

    def history(self) -> list[dict[str, Any]]:
        file = self.project / "broker1/var/lib/fleet/history.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@contextmanager
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    (tmp_path / "redis").mkdir()
    (tmp_path / "project").mkdir()
    with leased(tmp_path / "redis", lease=LEASE) as here:
        yield Fleet(tmp_path / "project", here, monkeypatch)


@pytest.mark.long
def test_a_machine_is_retired_if_its_queues_keep_their_consumers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path, monkeypatch) as fleet, fleet.here.client() as client:
        here = fleet.here
        release = here.release("r", HELD.format(folder=tmp_path))
        here.start(release, 1)
        root = fleet.install("test", 1, release)
        client.send_task("held", queue="default")
        assert until((tmp_path / "begun").exists)
        # The only worker of its queue stays.
        refused = fleet.retire("test", "-y")
        assert refused.exit_code == 1
        assert str(refused.exception).startswith("test stays as it is: no worker would consume them any more: 0 tasks wait in ")
        assert str(refused.exception).endswith("--abandon-queues default")
        assert "\n" not in str(refused.exception)
        here.hostname = "web1"
        here.start(release, 2)
        dry = fleet.retire("test", "--dry", "--json")
        assert json.loads(dry.stdout) == {
            "host": "test",
            "role": None,
            "units": ["celery-web@1.service"],
            "removed": ["/etc/fleet", "/opt/fleet"],
            "workers": ["web-worker-1@test"],
            "dry": True,
        }
        no_terminal = fleet.retire("test")
        assert no_terminal.exit_code == 1
        assert str(no_terminal.exception) == ("test: nothing was changed, since there is no terminal to ask on; -y does not ask")
        assert (root / "etc/fleet/web.env").exists() and not fleet.history()
        last_facts.keep(Path("prod.py"), {name: MachineFacts(1, 1 << 30) for name in ("test", "web1")}, ["test", "web1"])
        (tmp_path / "let go").touch()
        done = fleet.retire("test", "-y")
        assert done.exit_code == 0, done.output
        assert "removed /etc/fleet" in done.stderr
        assert "test is retired: take it out of prod.py now" in done.stdout
        assert (tmp_path / "ended").exists()  # it was finished before its worker went
        left = {path.name for path in root.rglob("*")}
        assert not left & {"web.env", "celery-web@1.service", "releases", "fleet"}
        assert here.running["celery-web@1.service"].wait(PATIENCE) == 0
        assert set(last_facts.read(Path("prod.py"))[0].hosts) == {"web1"}
        (entry,) = fleet.history()
        assert (entry["what"], entry["outcome"]) == ("fleet retire test", "done")
        assert "test: removed /etc/fleet" in entry["notes"]
        assert not (fleet.project / "broker1/var/lib/fleet/lock").exists()
        # Once more: there is nothing, and no question.
        again = fleet.retire("test")
        assert (again.exit_code, "there is nothing to retire" in again.stderr) == (0, True)
        # It has left the inventory: it is reached all the same, and no other machine is taken for it.
        inventory = Path("prod.py")
        inventory.write_text(inventory.read_text().replace(", 'test'", ""))
        elsewhere = fleet.retire("test", "--address", "10.9.9.9")
        assert (elsewhere.exit_code, "there is nothing to retire" in elsewhere.stderr) == (0, True)
        inventory.write_text(inventory.read_text().replace("web1", "test"))
        fleet.project.joinpath("web9").symlink_to(root)
        wrong = fleet.retire("web9", "--address", "10.9.9.9", "-y")
        assert str(wrong.exception) == "web9: the machine there calls itself test, and is in the inventory"


@pytest.mark.long
def test_a_machine_that_is_gone_gives_back_what_it_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path, monkeypatch) as fleet, fleet.here.client() as client, fleet.here.redis() as redis:
        here = fleet.here
        release = here.release("r")
        here.start(release, 1)
        fleet.install("web1", 7, release)  # it has the app, and a worker that is not running
        send(client, 0, 600)
        send(client, 1, countdown=600)
        assert until(lambda: 0 in begun(here) and redis.hlen("unacked") == 2)
        silent = fleet.retire("test", "-y")
        assert silent.exit_code == 1
        assert str(silent.exception) == (
            "test: ssh: connect to host test port 22: No route to host; nothing was changed. "
            "If the machine is gone for good: --gone"
        )
        # It lives, and only SSH fails: it is waited for, and found alive.
        living = fleet.retire("test", "--gone", "-y")
        assert living.exit_code == 1
        assert str(living.exception).startswith("web-worker-1@test: has renewed its lease, so that it lives")
        assert redis.hlen("unacked") == 2
        last_facts.keep(Path("prod.py"), {"test": MachineFacts(1, 1 << 30)}, ["test", "web1"])
        kill(here, 1)
        done = fleet.retire("test", "--gone", "-y", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["given_back"] == {"web-worker-1@test": 2}
        assert (redis.llen("default"), redis.hlen("unacked"), redis.zcard("fleet.workers")) == (2, 0, 0)
        assert last_facts.read(Path("prod.py"))[0].hosts == {}
        assert [entry["outcome"] for entry in fleet.history()] == ["failed", "done"]
        here.start(release, 2)
        assert until(lambda: "web-worker-2@test" in begun(here)[0]), here.output(2)
        inventory = Path("prod.py")
        inventory.write_text(inventory.read_text().replace("'test'", "'web2'"))
        kill(here, 2)
        left = fleet.retire("test", "--gone", "--dry", "--json")
        assert json.loads(left.stdout)["workers"] == ["web-worker-2@test"]


@pytest.mark.long
def test_what_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    make_project(tmp_path)
    (tmp_path / "s.env").write_text(f"{BROKER_WORKER}=a\n{BROKER_MONITOR}=b\n")
    (tmp_path / "s.env").chmod(0o600)
    with sshd(tmp_path / "sshd") as server:
        at = {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": server.port,
            "lan_address": "127.0.0.1",
            "ssh_user": server.user,
            "ssh_key": str(server.key),
            "ssh_known_hosts_file": str(server.known_hosts),
        }
        (tmp_path / "prod.py").write_text(
            f"_at = {at!r}\nbroker = [('b', _at)]\nweb = [('web1', _at), ('web2', {{**_at, 'ssh_port': 9}})]\n"
        )
        for words, message in {
            ("web3",): "web3: not in prod.py, which has b, web1, web2; if it has left: --address ADDRESS, or "
            "--gone if it is gone\n",
            ("web3", "--address", "127.0.0.1"): "127.0.0.1: the address of b, which is in the inventory; nothing was changed\n",
            ("web1", "--address", "10.9.9.9"): "web1: prod.py says where it is; leave out --address\n",
            ("b",): "b: the broker runs there, with all tasks; --role NAME retires its workers alone\n",
            ("web1", "--gone"): "web1: it answers over SSH, so that it is not gone; leave out --gone\n",
            ("web1", "--role", "batch"): "web1: nothing there is of the role batch; it has none\n",
            ("web2",): "web2: ssh: connect to host 127.0.0.1 port 9: Connection refused; nothing was changed. If the machine "
            "is gone for good: --gone\n",
        }.items():
            done = fleet(tmp_path, "retire", "prod.py", *words)
            assert (done.returncode, done.stderr) == (1, message), words


@pytest.mark.long
def test_the_host_of_the_history_is_not_retired(tmp_path: Path) -> None:
    make_project(tmp_path)
    at = {"lan_address": "127.0.0.1", "ssh_hostname": "127.0.0.1", "ssh_port": 9, "records_host": "web1"}
    (tmp_path / "prod.py").write_text(f"_at = {at!r}\nbroker = [('b', _at)]\nweb = [('web1', _at), ('web2', _at)]\n")
    for words in (("web1",), ("web1", "--gone")):
        done = fleet(tmp_path, "retire", "prod.py", *words)
        assert done.returncode == 1
        assert done.stderr.startswith("web1: the lock and the history are there: write another host as records_host")
