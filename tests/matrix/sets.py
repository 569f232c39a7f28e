"""The sets of versions: which there are, and the virtualenv of each, made on first use and kept."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "matrix"
SETS = tuple(sorted(path.stem for path in REQUIREMENTS.glob("*.txt")))
"""Names of the sets: Celery's minor versions."""
POOLS = ("prefork", "threads", "gevent")
VENVS = "FLEET_MATRIX_VENVS"
"""Variable that names the folder of the virtualenvs."""


@dataclass(frozen=True)
class Cell:
    """What a test runs with: a set of versions, and a pool."""

    versions: str
    pool: str

    @property
    def name(self) -> str:
        """For example "5.3-gevent"."""
        return f"{self.versions}-{self.pool}"


CELLS = tuple(Cell(versions, pool) for versions in SETS for pool in POOLS)


def python_of(versions: str) -> Path:
    """The Python of a set's virtualenv."""
    folder = Path(os.environ.get(VENVS) or Path.home() / ".cache" / "celery-fleet" / "matrix")
    return folder / versions / "bin" / "python"


def pins(versions: str) -> str:
    """What a set pins, in words: "celery 5.3.6, kombu 5.3.7, redis 4.6.0"."""
    lines = (REQUIREMENTS / f"{versions}.in").read_text().split()
    pinned = dict(line.split("==") for line in lines)
    return ", ".join(f"{name.partition('[')[0]} {version}" for name, version in pinned.items() if name != "gevent")


def make(versions: str) -> None:
    """Make the virtualenv of a set, if it does not match the set's pins already. Raises CalledProcessError."""
    python = python_of(versions)
    uv = str(ROOT / ".venv" / "bin" / "uv")
    if not python.exists():
        folder = str(python.parents[1])
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes", "--python", str(python)]
    subprocess.run([*install, "-r", str(REQUIREMENTS / f"{versions}.txt")], check=True)
