"""A real RabbitMQ node, in a folder and on ports of its own. All processes of a test run share one: it takes seconds to boot.

`python -m tests.unit.rabbitmq_support FOLDER` keeps the shared node until no test process holds a lock on FOLDER/users.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any

import pytest

from tests.unit.shop_support import PATIENCE, free_port

ROOT = Path(__file__).parents[2]
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
"""Where Debian has the scripts that any user may run: those in /usr/sbin become the user of the system's own node."""
BOOT_PATIENCE = 4 * PATIENCE
CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
raft.wal_max_size_bytes = 32000000
log.file.level = warning
"""
ADVANCED = "[{{rabbit, [{{channel_tick_interval, 500}}, {{consumer_timeout, {consumer_timeout}}}]}}]."


@dataclass(frozen=True)
class Vhost:
    """A virtual host of a node, empty but for what a test makes."""

    node: "Node"
    name: str

    @property
    def url(self) -> str:
        """What a worker has as CELERY_BROKER_URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.node.port}/{self.name}"

    def policy(self, name: str, pattern: str, **definition: object) -> None:
        """Set a policy for queues. Underscores in names of `definition` stand for hyphens."""
        content = {key.replace("_", "-"): value for key, value in definition.items()}
        self.node.api("PUT", f"policies/{self.name}/{name}", {"pattern": pattern, "definition": content, "apply-to": "queues"})

    def queues(self) -> dict[str, dict[str, Any]]:
        """Name → what RabbitMQ says of a queue; of its numbers, those of a moment ago."""
        return {queue["name"]: queue for queue in self.node.api("GET", f"queues/{self.name}")}

    def exchanges(self) -> set[str]:
        """The exchanges that somebody has declared."""
        names = {exchange["name"] for exchange in self.node.api("GET", f"exchanges/{self.name}")}
        return {name for name in names if name and not name.startswith("amq.")}


@dataclass
class Node:
    """A node that is its own cluster. consumer_timeout: in milliseconds. more: lines of its configuration."""

    folder: Path
    port: int = field(default_factory=free_port)
    management: int = field(default_factory=free_port)
    epmd_port: int = field(default_factory=free_port)
    distribution: int = field(default_factory=free_port)
    consumer_timeout: int = 1_800_000
    more: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes, and of rabbitmqctl."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return clean | {
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.distribution),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
        }

    def start(self) -> None:
        """Boot it, with what it had when it was stopped."""
        self.folder.mkdir(parents=True, exist_ok=True)
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(uuid.uuid4().hex)
            cookie.chmod(0o400)
        configuration = CONFIGURATION.format(port=self.port, management=self.management) + self.more
        (self.folder / "rabbitmq.conf").write_text(configuration)
        (self.folder / "advanced.config").write_text(ADVANCED.format(consumer_timeout=self.consumer_timeout))
        (self.folder / "plugins").write_text("[rabbitmq_management].")
        with (self.folder / "output").open("ab") as output:
            commands = (["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"], [str(SCRIPTS / "rabbitmq-server")])
            for command in commands:
                started = subprocess.Popen(
                    command,
                    env=self.environment,
                    cwd=self.folder,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self.processes.append(started)
        deadline = time.monotonic() + BOOT_PATIENCE
        while not self._is_up():
            assert self.processes[-1].poll() is None and time.monotonic() < deadline, (self.folder / "output").read_text()
            time.sleep(0.05)

    def _is_up(self) -> bool:
        try:  # plugins listen before the node takes connections
            return bool(self.api("GET", "nodes")[0].get("running")) and bool(self.api("GET", "healthchecks/node"))
        except (OSError, AssertionError, ValueError):
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; with SIGKILL as a machine that is gone."""
        while self.processes:
            ending = self.processes.pop()
            with suppress(ProcessLookupError):
                os.killpg(ending.pid, how if ending.args == [str(SCRIPTS / "rabbitmq-server")] else signal.SIGKILL)
            try:
                ending.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(ending.pid, signal.SIGKILL)
                ending.wait()
            with suppress(ProcessLookupError):  # what the script's shell has left
                os.killpg(ending.pid, signal.SIGKILL)

    def control(self, *words: str) -> str:
        """What rabbitmqctl prints. It takes most of a second."""
        command = [str(SCRIPTS / "rabbitmqctl"), "--quiet", *words]
        return subprocess.run(command, env=self.environment, cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def api(self, method: str, path: str, content: object = None) -> Any:
        """The answer of the management plugin."""
        connection = HTTPConnection("127.0.0.1", self.management, timeout=PATIENCE)
        try:
            body = None if content is None else json.dumps(content)
            headers = {"Authorization": "Basic " + b64encode(b"guest:guest").decode(), "Content-Type": "application/json"}
            connection.request(method, f"/api/{path}", body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status < 300, f"{method} {path}: {answer.status} {text}"
            return json.loads(text) if text else None
        finally:
            connection.close()

    @contextmanager
    def vhost(self) -> Iterator[Vhost]:
        """A virtual host that is gone afterwards."""
        name = f"t{uuid.uuid4().hex[:10]}"
        self.api("PUT", f"vhosts/{name}", {})
        self.api("PUT", f"permissions/{name}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        try:
            yield Vhost(self, name)
        finally:
            with suppress(OSError):  # a test has stopped the node
                self.api("DELETE", f"vhosts/{name}")


@contextmanager
def running_node(folder: Path, **more: Any) -> Iterator[Node]:
    """A node for one test, which may stop it."""
    node = Node(folder, **more)
    try:
        node.start()
        yield node
    finally:
        node.stop(signal.SIGKILL)  # in order it takes seconds
        shutil.rmtree(folder / "mnesia", ignore_errors=True)


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that all tests of this run share, with those of other processes of pytest-xdist. No test may stop it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "rabbitmq"
    folder.mkdir(exist_ok=True)
    with (folder / "users").open("w") as users, (folder / "starting").open("w") as starting:
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(starting, fcntl.LOCK_EX)
        ready = folder / "ready"
        if not ready.exists():
            command = ["setsid", "--fork", sys.executable, "-m", "tests.unit.rabbitmq_support", str(folder)]
            with (folder / "keeper").open("ab") as output:
                subprocess.run(command, cwd=ROOT, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            deadline = time.monotonic() + BOOT_PATIENCE
            while not ready.exists():
                text = (folder / "keeper").read_text()
                assert time.monotonic() < deadline and "Error" not in text, text
                time.sleep(0.05)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield Node(folder / "node", **json.loads(ready.read_text()))


@pytest.fixture
def vhost(rabbitmq: Node) -> Iterator[Vhost]:
    """An empty virtual host of the shared node."""
    with rabbitmq.vhost() as vhost:
        yield vhost


def _keep(folder: Path) -> None:
    """Run the shared node until nobody uses it."""
    with (folder / "users").open() as users, running_node(folder / "node") as node:
        names = ("port", "management", "epmd_port", "distribution")
        ports = {name: getattr(node, name) for name in names}
        (folder / "new").write_text(json.dumps(ports))
        (folder / "new").rename(folder / "ready")
        while not _is_free(users):
            time.sleep(0.2)
        (folder / "ready").unlink()  # who comes now has to wait for the lock, and starts another


def _is_free(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
