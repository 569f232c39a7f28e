"""The secrets file: NAME=value lines on the control machine, never in git."""

import os
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from fleet.errors import FleetError
from fleet.spec.files import read_text
from fleet.spec.mistakes import SpecError

BROKER_WORKER = "BROKER_WORKER_PASSWORD"
BROKER_MONITOR = "BROKER_MONITOR_PASSWORD"
FLOWER = "FLOWER_PASSWORD"
"""Needed only if the monitor has Flower."""
BROKER_NAMES = (BROKER_WORKER, BROKER_MONITOR)
COOKIE = "BROKER_ERLANG_COOKIE"
"""What the nodes of our own RabbitMQ, and its commands, know each other by. It cannot change while they run."""
GENERATED = (*BROKER_NAMES, COOKIE)
"""What `fleet secrets` makes."""
BEFORE = "_BEFORE"
"""The end of the name of a password that the broker accepts as well, while a rotation is under way."""


class SecretsError(FleetError):
    """A secret is missing or unreadable. str() says which, where, and how to write it."""


class Secrets(dict[str, str]):
    """Name → value. Its repr hides the values: tracebacks and test reports print local variables."""

    def __repr__(self) -> str:
        return f"<secrets {', '.join(sorted(self))}>"


def read(path: Path) -> Secrets:
    """Read the secrets in `path`. Raises SecretsError if the file is missing, or if anybody but its owner can read it."""
    try:
        mode, text = path.stat().st_mode, read_text(path)
    except FileNotFoundError:
        raise SecretsError(f"{path}: no such file; make one with: fleet secrets {path}") from None
    except SpecError as error:
        raise SecretsError(str(error)) from None
    except OSError as error:
        raise SecretsError(f"{path}: {error.strerror}") from None
    if mode & 0o077:
        raise SecretsError(f"{path}: others can read it (mode {mode & 0o777:04o}); run: chmod 600 {path}")
    values = Secrets()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator or not name.strip().isidentifier():
            raise SecretsError(f"{path}, line {number}: write NAME=value")
        values[name.strip()] = value.strip()
    return values


def require(path: Path, values: Mapping[str, str], names: Iterable[str]) -> None:
    """Check that `values`, read from `path`, has all `names`. Raises SecretsError that says which are missing and where to write
    them."""
    missing = [name for name in names if not values.get(name)]
    if missing:
        hint = f"; or make what the broker needs with: fleet secrets {path}" if set(missing) & set(GENERATED) else ""
        raise SecretsError("\n".join(f"{path}: {name} is missing; add the line {name}=…{hint}" for name in missing))


def ensure(path: Path) -> list[str]:
    """Add what the broker's hosts need and `path` lacks, freshly generated. Only the owner can read a file that this creates.

    Returns the names that were added. Existing values stay as they are. Raises SecretsError if the file cannot be written.
    """
    existing = read(path) if path.exists() else Secrets()
    added = [name for name in GENERATED if not existing.get(name)]
    if added:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "a") as file:
                file.writelines(f"{name}={secrets.token_urlsafe(24)}\n" for name in added)
        except OSError as error:
            raise SecretsError(f"{error.filename or path}: {error.strerror}") from None
    return added


def accepted(values: Mapping[str, str], name: str) -> list[str]:
    """The passwords that the broker accepts for one of BROKER_NAMES: the present one, and the one before while there is one."""
    return [values[name], *filter(None, [values.get(name + BEFORE)])]


def rotate(path: Path) -> list[str]:
    """Generate new passwords of the broker in `path`, and keep those before under NAME_BEFORE. Everything else stays as it is.

    Returns the names. Raises SecretsError if the file lacks one, has one before already, or cannot be read or written.
    """
    values = read(path)
    require(path, values, BROKER_NAMES)
    if unfinished := [name + BEFORE for name in BROKER_NAMES if name + BEFORE in values]:
        raise SecretsError(
            f"{path}: {' and '.join(unfinished)} is there from the last rotation; delete it, deploy, and rotate again after that"
        )
    lines = [line for line in read_text(path).splitlines() if line.partition("=")[0].strip() not in BROKER_NAMES]
    for name in BROKER_NAMES:
        lines += [f"{name}={secrets.token_urlsafe(24)}", f"{name}{BEFORE}={values[name]}"]
    target = path.resolve()
    try:
        descriptor, unfinished_file = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{line}\n" for line in lines)
        Path(unfinished_file).replace(target)
    except OSError as error:
        raise SecretsError(f"{error.filename or path}: {error.strerror}") from None
    return list(BROKER_NAMES)
