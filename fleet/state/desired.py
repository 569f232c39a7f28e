"""The state that a machine should have, as plain values: roles make it, `fleet.state.diff` compares it."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256


def revision(*parts: bytes) -> str:
    """The revision of what a unit runs: 12 hex digits of the hash of all that goes in."""
    return sha256(b"\0".join(parts)).hexdigest()[:12]


@dataclass(frozen=True)
class File:
    """A file with all its content. Paths are absolute."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hex."""
        return sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Directory:
    """A directory. Its content is not looked at."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"


Entry = Directory | File


@dataclass(frozen=True)
class User:
    """A system user without a shell, with a group of the same name."""

    name: str
    home: str


@dataclass(frozen=True)
class Unit:
    """A systemd unit that is enabled and active. If it has a revision, it runs that very revision."""

    name: str
    revision: str | None = None


@dataclass(frozen=True)
class State:
    """What a role wants of a machine. Two states are joined with `+`.

    only: shell patterns of paths. A file that matches one and is in no state is removed (a unit is stopped first).
    """

    packages: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    directories: tuple[Directory, ...] = ()
    files: tuple[File, ...] = ()
    units: tuple[Unit, ...] = ()
    only: tuple[str, ...] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that has a path, directories first."""
        return (*self.directories, *self.files)

    def __add__(self, other: State) -> State:
        return State(
            self.packages + other.packages,
            self.users + other.users,
            self.directories + other.directories,
            self.files + other.files,
            self.units + other.units,
            self.only + other.only,
        )
