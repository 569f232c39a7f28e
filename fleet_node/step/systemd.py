"""How a step starts and stops workers on a machine. Standard library alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

JOURNAL_LINES = 15


def runtime(root: Path, unit: str) -> Path:
    """The unit's RUNTIME_DIRECTORY: celery-web@1.service → run/celery-web-1."""
    return root / "run" / unit.removesuffix(".service").replace("@", "-")


class Supervisor(Protocol):
    """Starts and stops units: systemd, or a smaller stand-in in tests."""

    def bring(self, verb: str, units: Iterable[str]) -> bool:
        """Start or restart units (`verb`), and wait. Returns whether all of them are ready."""

    def stop(self, units: Iterable[str]) -> None:
        """Stop units, and wait until they have ended."""

    def reload(self) -> None:
        """Read changed unit files."""

    def enable(self, units: Iterable[str]) -> None:
        """Start units with the machine from now on."""

    def disable(self, units: Iterable[str]) -> None:
        """Do not start units with the machine any more."""

    def process(self, unit: str) -> int:
        """The pid of the unit's main process; 0 if the unit is not active."""

    def revision(self, unit: str) -> str:
        """FLEET_REVISION of the unit's main process; empty if there is none."""

    def journal(self, unit: str) -> list[str]:
        """The last lines of the unit's journal."""


class Systemd:
    """The machine's systemd."""

    def bring(self, verb: str, units: Iterable[str]) -> bool:
        return _run("systemctl", verb, *units).returncode == 0

    def stop(self, units: Iterable[str]) -> None:
        _run("systemctl", "stop", *units)

    def reload(self) -> None:
        _run("systemctl", "daemon-reload")

    def enable(self, units: Iterable[str]) -> None:
        _run("systemctl", "enable", "--quiet", *units)

    def disable(self, units: Iterable[str]) -> None:
        _run("systemctl", "disable", "--quiet", *units)

    def process(self, unit: str) -> int:
        shown = _run("systemctl", "show", "--property=ActiveState,MainPID", unit).stdout
        properties = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return int(properties.get("MainPID") or 0) if properties.get("ActiveState") == "active" else 0

    def revision(self, unit: str) -> str:
        pid = self.process(unit)
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if pid else []
        except OSError:
            return ""
        return next((item.partition(b"=")[2].decode() for item in variables if item.startswith(b"FLEET_REVISION=")), "")

    def journal(self, unit: str) -> list[str]:
        return _run("journalctl", "--no-pager", "-o", "cat", "-n", str(JOURNAL_LINES), "-u", unit).stdout.splitlines()


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
