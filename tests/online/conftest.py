"""A lab for the tests, booted once for all files that need it, and ended with the session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
OWN_LAB = os.environ.get("FLEET_TEST_LAB")
"""The name of a running lab of yours. The tests use it as it is, and do not end it."""
NAME = OWN_LAB or "test"
ROLLING = ("--group-data", str(ROOT / "tests" / "online" / "rolling"))
"""Two workers of web and batch, with short limits."""


INVENTORY = """
import runpy
_lab = runpy.run_path({lab!r})
globals().update({{name: value for name, value in _lab.items() if isinstance(value, list) and not name.startswith("_")}})
globals().update({groups!r})
"""


def inventory_with(folder: Path, **groups: list[str]) -> str:
    """A file with the inventory of the lab, in which these groups have these hosts."""
    file = folder / "more.py"
    file.write_text(INVENTORY.format(lab=str(ROOT / "inventory" / "lab.py"), groups=groups))
    return str(file)


@dataclass(frozen=True)
class Lab:
    """A running lab, and the project's commands on it, as a user types them."""

    environment: dict[str, str] = field(
        default_factory=lambda: {
            **{name: value for name, value in os.environ.items() if not name.startswith("CELERY_")},
            "FLEET_LAB": NAME,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "examples" / "shop"),
            "NO_COLOR": "1",
        }
    )

    def run(self, *command: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository, on this lab. `stdout` has both its streams."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def deploy(self, *more: str, inventory: str = "inventory/lab.py", timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """`pyinfra inventory/lab.py deploy.py -y`."""
        return self.run("pyinfra", inventory, "deploy.py", "-y", *more, timeout=timeout)

    def verify(self, *more: str) -> subprocess.CompletedProcess[str]:
        """`pytest tests/host --inventory inventory/lab.py`."""
        return self.run("pytest", "-q", "--tb=short", "tests/host", "--inventory", "inventory/lab.py", *more)

    def exercise(self, tasks: int, inventory: str = "inventory/lab.py") -> subprocess.CompletedProcess[str]:
        """The demo app's real work, with each result checked. 10.0.2.2 is this machine's address for the lab's machines."""
        work = ("python", "-m", "shop.exercise", "--tasks", str(tasks), "--supplier-host", "10.0.2.2", "--json")
        return self.run("fleet", "connect", inventory, "--", *work)

    def listens(self, host: str, port: int) -> bool:
        """Whether something on a machine takes connections at this port."""
        return bool(self.ask(host, f"ss -Hltn sport = :{port}"))

    def drill(
        self, name: str, *more: str, inventory: str = "inventory/lab.py", log: Path | None = None, timeout: float = 1200
    ) -> dict[str, Any]:
        """The account of `fleet drill NAME inventory/lab.py --json`. Asserts exit 0. log: a file for pyinfra's output."""
        log_option = ("--log", str(log)) if log else ()
        done = subprocess.run(
            ("fleet", "drill", name, inventory, *more, *log_option, "--json"),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + (log.read_text()[-20000:] if log and log.exists() else "")
        account: dict[str, Any] = json.loads(done.stdout)
        return account

    def ask(self, host: str, command: str, timeout: float = 60) -> str:
        """The output of a shell command that runs as root on a machine. Asserts that it succeeds."""
        done = self.run("fleet", "lab", "ssh", host, "--", "sudo", "sh", "-c", f"'{command}'", timeout=timeout)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    lab = Lab()
    if OWN_LAB:
        yield lab
        return
    lab.run("fleet", "lab", "down")  # a session that was cut off may have left one
    done = lab.run("fleet", "lab", "up", "--hosts", "broker1 web1 batch1 gpu1=2048")  # with room for eight workers
    assert done.returncode == 0, done.stdout
    yield lab
    done = lab.run("fleet", "lab", "down")
    assert done.returncode == 0, done.stdout
