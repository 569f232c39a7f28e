"""What starts and stops workers on a machine. Standard library alone."""

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
    """What starts and stops workers: systemd, and in tests something smaller."""

    def bring(self, verb: str, units: Iterable[str]) -> bool:
        """Start or restart, and wait until they are ready, or have failed to be."""

    def stop(self, units: Iterable[str]) -> None:
        """Stop, and wait until they have."""

    def reload(self) -> None:
        """Read changed unit files."""

    def enable(self, units: Iterable[str]) -> None:
        """Have them start with the machine."""

    def disable(self, units: Iterable[str]) -> None:
        """The contrary of enable()."""

    def process(self, unit: str) -> int:
        """Its main process if it is up, else 0."""

    def revision(self, unit: str) -> str:
        """FLEET_REVISION of its main process; empty where there is none."""

    def journal(self, unit: str) -> list[str]:
        """The last lines that it said."""


class Systemd:
    """The real one."""

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
        found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return int(found.get("MainPID") or 0) if found.get("ActiveState") == "active" else 0

    def revision(self, unit: str) -> str:
        pid = self.process(unit)
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if pid else []
        except OSError:
            return ""
        return next((one.partition(b"=")[2].decode() for one in variables if one.startswith(b"FLEET_REVISION=")), "")

    def journal(self, unit: str) -> list[str]:
        return _run("journalctl", "--no-pager", "-o", "cat", "-n", str(JOURNAL_LINES), "-u", unit).stdout.splitlines()


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
