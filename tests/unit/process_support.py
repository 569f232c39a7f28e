"""A machine without systemd: units are files in a folder, workers are processes that start and stop as their units say."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from fleet.drill.ledger import Account, Entry, Sent, account
from fleet.state.archive import pack
from fleet.state.desired import File
from fleet_node.protocol import DRILL_ANNOUNCED, DRILL_LEDGER, StepRequest, StepResult, UnitRequest
from fleet_node.step.snapshot import UNIT_FOLDER
from tests.unit.shop_support import PATIENCE, answering, close, free_port, process, redis_server, redis_url

ROOT = Path(__file__).parents[2]
START_PATIENCE = 60  # seconds until a worker is ready; a unit of systemd has 120
APP = """
import os
from celery import Celery
app = Celery("jobs")
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, broker_connection_retry_on_startup=True)
{more}
"""


def pools(*names: str) -> pytest.MarkDecorator:
    """A test with each of these pools. With all but prefork it is of `make slow`: most other tests run with threads, and those of
    the matrix with gevent."""
    values = [name if name == "prefork" else pytest.param(name, marks=pytest.mark.slow) for name in names]
    return pytest.mark.parametrize("pool", values)


@dataclass
class Machine:
    """A machine with a Redis, which may be no broker, and with workers by units that a step writes. It is a Supervisor."""

    root: Path
    port: int
    pool: str = "threads"  # it starts fastest
    drain_seconds: int = 20
    concurrency: int = 4
    prefetch: int = 1
    flags: str = ""
    hostname: str = "test"  # of workers that start from now on
    role: str = "web"  # the same
    python: str = sys.executable  # of its workers, drains and gates: the app's own
    more: dict[str, str] = field(default_factory=dict)  # environment of its workers
    broker: str = ""  # URL of a broker that is not its Redis
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its workers."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "FLEET_"))}
        return clean | {
            "CELERY_BROKER_URL": self.broker or redis_url(self.port),
            "CELERY_RESULT_BACKEND": redis_url(self.port, 1),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.more,
        }

    def release(self, name: str, more: str = "") -> Path:
        """A folder with an app that has `more` in its module."""
        folder = self.root / "releases" / name
        folder.mkdir(parents=True)
        (folder / "jobs.py").write_text(APP.format(more=more))
        return folder

    def unit(self, number: int | str, release: Path, revision: str, queues: Iterable[str]) -> str:
        """The text of a worker's unit, with the lines that bring() and stop() read."""
        python, node = shlex.quote(self.python), f"{self.role}-worker-{number}@{self.hostname}"
        pool = f"-P {self.pool} -c {self.concurrency} --prefetch-multiplier={self.prefetch} {self.flags}"
        return (
            f"Environment=PYTHONPATH={release}:{ROOT} FLEET_REVISION={revision} FLEET_RELEASE={release.name}\n"
            f"ExecStart={python} -m celery -A jobs worker {pool} --hostname={node} --queues={','.join(queues)} "
            "--without-gossip --without-mingle --without-heartbeat -I fleet_node.worker -l INFO\n"
            f"ExecStop={python} -m fleet_node.drain {node} {self.drain_seconds}\n"
        )

    def request(
        self,
        release: Path,
        numbers: Iterable[int],
        revision: str = "",
        min_consumers: int = 1,
        canary: bool = False,
    ) -> StepRequest:
        """A step on web workers of these numbers, on the queue `default`."""
        numbers, queues = tuple(numbers), ["default"]
        units = {f"celery-web@{n}.service": n for n in numbers}
        files = [File(f"{UNIT_FOLDER}/{u}", self.unit(n, release, revision, queues).encode()) for u, n in units.items()]
        files = [File(file.path, file.content, owner=_user(), group=_user()) for file in files]
        requests: dict[str, UnitRequest] = {
            unit: {
                "role": "web",
                "node": f"web-worker-{number}@test",
                "queues": queues,
                "revision": revision,
                "need": 1,
                "surge": {
                    "unit": f"celery-web@{number}-surge.service",
                    "node": f"web-worker-{number}-surge@test",
                    "text": self.unit(f"{number}-surge", release, "", queues),
                },
            }
            for unit, number in units.items()
        }
        return {
            "archive": b64encode(pack(files)).decode(),
            "envs": [],
            "files": [file.path for file in files],
            "timeout": 60,
            "units": requests,
            "gates": {
                "web": {
                    "command": [self.python, "-m", "fleet_node.gate"],
                    "user": "",
                    "folder": str(self.root),
                    "base": self.environment | {"PYTHONPATH": f"{release}:{ROOT}"},
                    "environment": {},
                    "ask": {
                        "app": "jobs",
                        "expected": len(self.running),
                        "look": 5,
                        "settle": 1,
                        "patience": 10,
                        "first_task": 10,
                    },
                }
            },
            "stopping": [f"web-worker-{number}@test" for number in numbers],
            "min_consumers": {"default": min_consumers},
            "canary": canary,
            "restart": False,
        }

    def start(self, release: Path, number: int = 1, queues: Iterable[str] = ("default",)) -> subprocess.Popen[bytes]:
        """Start a worker. Returns its process when it is ready."""
        name = f"celery-{self.role}@{number}.service"
        path = self.root / UNIT_FOLDER.lstrip("/") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.unit(number, release, "v1", queues))
        assert self.bring("start", [name]), self.journal(name)
        return self.running[name]

    def output(self, number: int = 1) -> str:
        """All that a worker has written."""
        return (self.runtime(f"celery-web@{number}.service") / "journal").read_text()

    def end(self) -> None:
        """Kill all workers."""
        for worker in self.running.values():
            worker.kill()
            worker.wait()

    def _lines(self, unit: str) -> Iterator[tuple[str, str]]:
        for folder in ("run/systemd/system", UNIT_FOLDER.lstrip("/")):
            path = self.root / folder / unit
            if path.exists():
                yield from (line.partition("=")[::2] for line in path.read_text().splitlines())

    def runtime(self, unit: str) -> Path:
        """The unit's RUNTIME_DIRECTORY."""
        return self.root / "run" / unit.removesuffix(".service").replace("@", "-")

    def bring(self, verb: str, units: Iterable[str]) -> bool:
        units = list(units)
        self.stop(units)
        started = [self._start(unit) for unit in units]
        return all(started)

    def _start(self, unit: str) -> bool:
        lines = dict(self._lines(unit))
        runtime = self.runtime(unit)
        runtime.mkdir(parents=True, exist_ok=True)
        address = str(runtime / "notify")
        Path(address).unlink(missing_ok=True)
        own = dict(variable.split("=", 1) for variable in lines["Environment"].split())
        environment = self.environment | own | {"NOTIFY_SOCKET": address, "RUNTIME_DIRECTORY": str(runtime)}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, (runtime / "journal").open("ab") as journal:
            systemd.bind(address)
            systemd.settimeout(0.2)
            started = subprocess.Popen(
                shlex.split(lines["ExecStart"]), env=environment, cwd=self.root, stdout=journal, stderr=subprocess.STDOUT
            )
            self.running[unit] = started  # ended by end() if the test is interrupted now
            deadline = time.monotonic() + START_PATIENCE
            while started.poll() is None and time.monotonic() < deadline:
                try:
                    if systemd.recv(1000).startswith(b"READY=1"):
                        return True
                except TimeoutError:
                    continue
        started.kill()
        started.wait()
        del self.running[unit]
        return False

    def stop(self, units: Iterable[str]) -> None:
        for unit in [unit for unit in units if unit in self.running]:
            lines, worker = dict(self._lines(unit)), self.running.pop(unit)
            runtime = self.runtime(unit)
            environment = self.environment | {
                "RUNTIME_DIRECTORY": str(runtime),
                "MAINPID": str(worker.pid),
                "PYTHONPATH": str(ROOT),
            }
            if worker.poll() is None:
                subprocess.run(shlex.split(lines["ExecStop"]), env=environment, check=True, stdout=subprocess.DEVNULL, timeout=60)
                worker.send_signal(signal.SIGTERM)
            worker.wait(PATIENCE * 2)

    def reload(self) -> None:
        pass

    def enable(self, units: Iterable[str]) -> None:
        pass

    def disable(self, units: Iterable[str]) -> None:
        pass

    def process(self, unit: str) -> int:
        worker = self.running.get(unit)
        return worker.pid if worker and worker.poll() is None else 0

    def revision(self, unit: str) -> str:
        pid = self.process(unit)
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if pid else []
        return next((item.partition(b"=")[2].decode() for item in variables if item.startswith(b"FLEET_REVISION=")), "")

    def journal(self, unit: str) -> list[str]:
        runtime = self.runtime(unit)
        return (runtime / "journal").read_text().splitlines()[-15:]

    @contextmanager
    def client(self) -> Iterator[Celery]:
        """A producer."""
        app = Celery(broker=self.environment["CELERY_BROKER_URL"], backend=redis_url(self.port, 1))
        try:
            yield app
        finally:
            close(app)

    def announce(self, *drills: str) -> None:
        """Announce drills, so that workers have the task fleet.drill."""
        with self.redis() as redis:
            redis.sadd(DRILL_ANNOUNCED, *drills)

    def redis(self, database: int = 0) -> Redis:
        return Redis(port=self.port, db=database)

    def reading(self) -> Redis:
        """Redis as `fleet` reads it: text."""
        return Redis(port=self.port, decode_responses=True)

    def entries(self, run: str) -> list[Entry]:
        """The ledger of a drill."""
        with self.redis(1 if self.broker else 0) as redis:
            return [tuple(json.loads(line)) for line in redis.lrange(f"{DRILL_LEDGER}{run}", 0, -1)]

    def account(self, run: str, sent: Iterable[Sent]) -> Account:
        return account(sent, self.entries(run))


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """A machine with a Redis and no worker yet."""
    port = free_port()
    redis = redis_server(port, folder)
    with ExitStack() as stack:
        stack.enter_context(process(redis, folder / "redis.log"))
        answering(port)
        here = Machine(folder, port)
        here.announce("r", "bench")  # the drills of the tests' and the benchmarks' tasks
        try:
            yield here
        finally:
            here.end()


def states(result: StepResult) -> dict[str, str]:
    """Instance → its state after a step."""
    return {unit.removeprefix("celery-").removesuffix(".service"): of["state"] for unit, of in result["units"].items()}
