"""Three machines that share a kernel: each has a network of its own, and the files that the role of RabbitMQ gives it.

`python -m tests.render.rabbitmq_cluster URL` sends numbered messages to a quorum queue and takes them from there, until its stdin
ends. Then it prints what became of them, as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kombu import Connection, Exchange, Queue  # type: ignore[attr-defined]  # kombu's types are unfinished

from fleet.state.desired import State

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
FOLDERS = ("/etc/rabbitmq", "/var/lib/rabbitmq", "/var/log/rabbitmq")
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""What Debian's unit starts."""


@dataclass
class Machine:
    """A node and its network. name: of its network namespace. folder: with its files, as from /."""

    name: str
    address: str
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def write(self, state: State) -> None:
        """Bring the files of the role that RabbitMQ reads."""
        for folder in FOLDERS:
            (self.folder / folder[1:]).mkdir(parents=True, exist_ok=True)
        (self.folder / "var/lib/rabbitmq/mnesia").mkdir(exist_ok=True)
        for file in state.files:
            if file.path.startswith(FOLDERS):
                path = self.folder / file.path[1:]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.write_bytes(file.content)
                path.chmod(file.mode)
                shutil.chown(path, file.owner, file.group)
        for folder in FOLDERS[1:]:
            subprocess.run(["chown", "-R", "rabbitmq:rabbitmq", str(self.folder / folder[1:])], check=True)

    def command(self, *words: str) -> list[str]:
        """A command in the machine."""
        mounts = "; ".join(f"mount --bind {self.folder}{folder} {folder}" for folder in FOLDERS)
        return ["ip", "netns", "exec", self.name, "unshare", "-m", "sh", "-ec", f'{mounts}; cd /; exec "$@"', "sh", *words]

    def run(self, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What a deploy would run there, as root."""
        return subprocess.run(self.command("sh", "-c", script), input=stdin, capture_output=True, text=True, check=False)

    def start(self) -> None:
        """Start Erlang's directory of nodes, as the socket does, and the node, as the unit does."""
        as_user = ("setpriv", "--reuid", "rabbitmq", "--regid", "rabbitmq", "--init-groups", "env", "HOME=/var/lib/rabbitmq")
        commands = (["epmd", "-address", f"127.0.0.1,{self.address}"], [*as_user, "RUNNING_UNDER_SYSTEMD=1", SERVER])
        with (self.folder / "output").open("ab") as output:
            for words in commands[1 if self.processes else 0 :]:
                self.processes.append(
                    subprocess.Popen(self.command(*words), stdout=output, stderr=output, start_new_session=True)
                )

    def stop(self) -> None:
        """End the node as the unit does."""
        self.run("rabbitmqctl -q stop")
        self.processes.pop().wait(PATIENCE)

    def kill(self) -> None:
        """End the node as a machine that is gone."""
        server = self.processes.pop()
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(PATIENCE)

    def end(self) -> None:
        """End whatever runs there."""
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False).stdout.split()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for process in self.processes:
            process.wait(PATIENCE)


@contextmanager
def machines(folder: Path, addresses: list[str]) -> Iterator[list[Machine]]:
    """Machines with these addresses, in one network that nothing else is in; and before them one for clients, at the first
    address of the network."""
    prefix = f"fleet{os.getpid()}"
    network = addresses[0].rpartition(".")[0]
    made = [Machine(f"{prefix}-{number}", address, folder / str(number)) for number, address in enumerate(addresses, 1)]
    hub = Machine(f"{prefix}-0", f"{network}.1", folder / "0")

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    try:
        for machine in (hub, *made):
            ip("netns", "add", machine.name)
            ip("-n", machine.name, "link", "set", "lo", "up")
        ip("-n", hub.name, "link", "add", "br0", "type", "bridge")
        ip("-n", hub.name, "addr", "add", f"{hub.address}/24", "dev", "br0")
        ip("-n", hub.name, "link", "set", "br0", "up")
        for number, machine in enumerate(made):
            peer = ("peer", "name", "eth0", "netns", machine.name)
            ip("-n", hub.name, "link", "add", f"veth{number}", "type", "veth", *peer)
            ip("-n", hub.name, "link", "set", f"veth{number}", "master", "br0", "up")
            ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", "eth0")
            ip("-n", machine.name, "link", "set", "eth0", "up")
        yield [hub, *made]
    finally:
        for machine in (hub, *made):
            machine.end()
            subprocess.run(["ip", "netns", "del", machine.name], check=False)


@contextmanager
def load(client: Machine, url: str) -> Iterator[dict[str, Any]]:
    """Messages are sent and taken while the context lasts. Afterwards the dict has what became of them."""
    outcome: dict[str, Any] = {}
    words = ["ip", "netns", "exec", client.name, sys.executable, "-m", "tests.render.rabbitmq_cluster", url]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield outcome
        output, _ = process.communicate("", timeout=2 * PATIENCE)
        outcome |= json.loads(output)
    finally:
        process.kill()


class Load:
    """A sender and a taker, as a producer and a worker are."""

    def __init__(self, url: str) -> None:
        exchange = Exchange("default", type="topic")  # type: ignore[no-untyped-call]
        self._queue = Queue("default", exchange, "default", queue_arguments={"x-queue-type": "quorum"})  # type: ignore[no-untyped-call]
        self._url = url
        self._sent: set[int] = set()
        self._taken = Counter[int]()
        self._ended = threading.Event()
        self._refused = 0

    def _connection(self) -> Any:
        return Connection(self._url, transport_options={"confirm_publish": True}, heartbeat=15)  # type: ignore[no-untyped-call]

    def send(self) -> None:
        """Send until it ends. A producer tries again, as Celery's does."""
        number = 0
        with self._connection() as connection:
            producer = connection.Producer()
            retry = {"max_retries": 60, "interval_start": 0, "interval_max": 1}
            while not self._ended.wait(0.01):
                number += 1
                try:
                    producer.publish(
                        number,
                        exchange=self._queue.exchange,
                        routing_key="default",
                        declare=[self._queue],
                        retry=True,
                        retry_policy=retry,
                        confirm_timeout=10,
                    )
                    self._sent.add(number)
                except Exception:  # it was told that this one is not taken
                    self._refused += 1

    def take(self) -> None:
        """Take until it has ended and nothing is left, with a new connection whenever one ends."""
        deadline = float("inf")
        while time.monotonic() < deadline and not (self._ended.is_set() and self._sent <= self._taken.keys()):
            try:
                with self._connection() as connection, connection.Consumer(self._queue, callbacks=[self._on_message]) as consumer:
                    consumer.qos(prefetch_count=10)
                    while time.monotonic() < deadline and not (self._ended.is_set() and self._sent <= self._taken.keys()):
                        with suppress(TimeoutError):
                            connection.drain_events(timeout=1)
                        if self._ended.is_set() and deadline == float("inf"):
                            deadline = time.monotonic() + PATIENCE
            except Exception:
                time.sleep(0.5)

    def _on_message(self, body: int, message: Any) -> None:
        self._taken[body] += 1
        message.ack()

    def main(self) -> None:
        """Run until stdin ends."""
        with self._connection() as connection:
            self._queue(connection.default_channel).declare()  # type: ignore[no-untyped-call]
        threads = [threading.Thread(target=work) for work in (self.send, self.take)]
        for thread in threads:
            thread.start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
        self._ended.set()
        for thread in threads:
            thread.join()
        lost = sorted(self._sent - self._taken.keys())
        twice = sum(count > 1 for count in self._taken.values())
        sys.stdout.write(json.dumps({"sent": len(self._sent), "lost": lost, "twice": twice, "refused": self._refused}))


if __name__ == "__main__":
    Load(sys.argv[1]).main()
