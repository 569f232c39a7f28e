"""A password changes under load, by the commands of a deploy. Redis has the rendered files; workers and producers go on."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fleet.inventory.read import read_inventory
from fleet.observe.drift import View
from fleet.plan.plan import resolved
from fleet.spec import broker as spec
from fleet.spec import secrets
from fleet.spec.fleet import Fleet, Host
from fleet.spec.load import load_fleet
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER
from fleet.state.observed import ObservedMachine
from fleet.state.redis_users import Users
from roles import broker
from tests.unit.fleet_node.delivery.lease_support import set_lease, until
from tests.unit.process_support import ROOT, Machine
from tests.unit.shop_support import answering, free_port, process

pytestmark = pytest.mark.long
TASK = """
@app.task(name="write")
def write(number):
    with open({path!r}, "a") as file:
        file.write(f"{{number}}\\n")
"""
PRODUCER = """
import itertools, json, signal, sys, time
from celery import Celery

url, name, reconnects, more = json.loads(sys.argv[1])
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))  # what is being sent is sent
app = Celery(broker=url)
app.conf.broker_pool_limit = 0 if reconnects else 1
exec(more)
for number in itertools.count():
    if ended:
        break
    print(f"{name}-{number} sending", flush=True)
    try:
        app.send_task("write", [f"{name}-{number}"], queue="default", retry=False)
    except Exception as error:
        print(f"{name}-{number} refused: {error!r}", flush=True)
    else:
        print(f"{name}-{number} sent", flush=True)
    time.sleep(0.02)
"""


@dataclass
class Broker:
    """A Redis with the files of the role, and what changes its passwords."""

    fleet: Fleet
    folder: Path

    @property
    def secrets_file(self) -> Path:
        return self.folder / "secrets.env"

    @property
    def port(self) -> int:
        assert self.fleet.redis
        return self.fleet.redis.port

    def files(self) -> dict[str, str]:
        return {file.path: file.content.decode() for file in broker.desired(self._view, self._host).files}

    @property
    def revision(self) -> str | None:
        return broker.desired(self._view, self._host).units[0].revision

    @property
    def users(self) -> Users:
        """With the secrets as they are now."""
        users = broker.users(self._view, self._host)
        assert users
        return replace(users, path=str(self.folder / "users.acl"), owner="root:root")

    def run(self, command: str) -> list[str]:
        """What the broker's machine prints of a command of a deploy."""
        done = subprocess.run(
            ["sh", "-c", command], input=self.users.input, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def url(self, user: str = "worker", name: str = BROKER_WORKER) -> str:
        return f"redis://{user}:{secrets.read(self.secrets_file)[name]}@127.0.0.1:{self.port}"

    def clients(self, waiting: bool = False) -> set[str]:
        """The ids of all connections, or of those that wait for something now."""
        with Redis.from_url(self.url("monitor", BROKER_MONITOR), decode_responses=True) as redis:
            clients = redis.client_list()
        commands = ("brpop", "blpop", "bzpopmin", "blmove", "subscribe", "psubscribe", "blmpop")
        return {client["id"] for client in clients if not waiting or client["cmd"] in commands}

    @property
    def _view(self) -> View:
        machines = dict.fromkeys(self.fleet.hosts, ObservedMachine(memory=4 << 30, cores=4, python="3.11", os="debian 12"))
        plan = resolved(self.fleet, {name: machine.facts for name, machine in machines.items()})
        return View(self.fleet, plan, secrets.read(self.secrets_file), machines)

    @property
    def _host(self) -> Host:
        return self.fleet.hosts[self.fleet.records_host]


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Broker]:
    fleet = load_fleet(read_inventory(ROOT / "inventory" / "prod.py"))
    here = Broker(replace(fleet, broker=spec.Redis(port=free_port())), tmp_path)
    secrets.ensure(here.secrets_file)
    files = here.files()
    (tmp_path / "users.acl").write_text(files[broker.USERS_FILE])
    configuration = files[broker.CONFIGURATION].replace("/etc/redis/users.acl", here.users.path)
    for line, local in {
        "bind 10.0.0.10 127.0.0.1": "bind 127.0.0.1",
        "dir /var/lib/redis": f"dir {tmp_path}",
        "supervised systemd": "supervised no",
    }.items():
        assert line in configuration
        configuration = configuration.replace(line, local)
    (tmp_path / "redis.conf").write_text(configuration)
    with process(["redis-server", str(tmp_path / "redis.conf")], tmp_path / "redis.log"):
        answering(here.port, username="worker", password=secrets.read(here.secrets_file)[BROKER_WORKER])
        yield here


@dataclass
class Producer:
    """A program of the user's, which sends as long as it runs."""

    running: "subprocess.Popen[bytes]"
    log: Path

    def outcomes(self) -> Mapping[str, str]:
        """Number → what became of it. What it is about to send is not among them."""
        lines = [line.split(" ", 1) for line in self.log.read_text().splitlines() if " " in line]
        return {number: outcome for number, outcome in lines if outcome != "sending"}

    def goes_on(self) -> bool:
        """Whether it has sent more from now on."""
        before = len(self.outcomes())
        return until(lambda: len(self.outcomes()) > before + 10)

    def end(self) -> None:
        self.running.terminate()
        self.running.wait(30)


@contextmanager
def producing(folder: Path, url: str, name: str, reconnects: bool, more: str = "") -> Iterator[Producer]:
    """A producer, as long as the context lasts. reconnects: for each task. more: further lines of its app."""
    log = folder / f"{name}.log"
    command = [sys.executable, "-c", PRODUCER, json.dumps([url, name, reconnects, more])]
    with process(command, log) as running:
        producer = Producer(running, log)
        assert producer.goes_on(), log.read_text()
        yield producer


def accepts(deployed: Broker, password: str) -> bool:
    try:
        with Redis(port=deployed.port, username="worker", password=password, retry=Retry(NoBackoff(), 0)) as client:
            client.ping()
    except AuthenticationError:
        return False
    return True


def test_nobody_is_refused_while_a_password_changes(deployed: Broker, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", deployed.port)
    machine.root.mkdir()
    set_lease(machine, 60)
    ran = tmp_path / "ran"
    release = machine.release("r", TASK.format(path=str(ran)))

    def log_in() -> None:
        """Workers that start from now on have the password that is in the secrets file now."""
        machine.broker = f"{deployed.url()}/0"
        machine.more["CELERY_RESULT_BACKEND"] = f"{deployed.url()}/1"

    first, revision = secrets.read(deployed.secrets_file)[BROKER_WORKER], deployed.revision
    with ExitStack() as stack:
        stack.callback(machine.end)
        log_in()
        for number in (1, 2):
            machine.start(release, number)
        steady, fresh = (
            stack.enter_context(producing(tmp_path, f"{deployed.url()}/0", name, reconnects))
            for name, reconnects in (("steady", False), ("fresh", True))
        )
        waiting = deployed.clients(waiting=True)
        assert len(waiting) >= 2, "workers wait for tasks"

        secrets.rotate(deployed.secrets_file, BROKER_WORKER)
        assert deployed.revision == revision, "Redis would be restarted"
        assert deployed.run(deployed.users.accept()) == ["accepts a new password of worker"]
        assert steady.goes_on() and fresh.goes_on()
        assert deployed.clients() >= waiting, "somebody was disconnected"

        log_in()
        for number in (1, 2):
            assert machine.bring("restart", [f"celery-web@{number}.service"]), machine.journal(f"celery-web@{number}.service")
            assert steady.goes_on() and fresh.goes_on()
        assert deployed.run(deployed.users.settle()) == [], "the old one is in the secrets file"
        renewed = stack.enter_context(producing(tmp_path, f"{deployed.url()}/0", "renewed", reconnects=True))
        fresh.end()

        secrets.finish(deployed.secrets_file, BROKER_WORKER)
        assert deployed.run(deployed.users.accept()) == []
        assert accepts(deployed, first), "workers are still asked whether they have the new one"
        waiting = deployed.clients(waiting=True)
        assert deployed.run(deployed.users.settle()) == ["no longer accepts a password before of worker"]
        assert not accepts(deployed, first)
        assert renewed.goes_on()
        assert steady.goes_on(), "a connection that is open goes on"
        assert deployed.clients() >= waiting, "somebody was disconnected"
        assert deployed.run(deployed.users.accept()) == deployed.run(deployed.users.settle()) == []

        producers = (steady, fresh, renewed)
        for producer in producers:
            producer.end()
        outcomes = {number: outcome for producer in producers for number, outcome in producer.outcomes().items()}
        assert {number: outcome for number, outcome in outcomes.items() if outcome != "sent"} == {}
        assert until(lambda: set(outcomes) <= set(ran.read_text().split())), "tasks were lost"
        assert sorted(ran.read_text().split()) == sorted(outcomes), "tasks ran that nobody has sent, or twice"
        log = "".join(machine.output(number) for number in (1, 2))
        assert "WRONGPASS" not in log and "NOAUTH" not in log
        assert (tmp_path / "users.acl").read_text() == deployed.files()[broker.USERS_FILE]
