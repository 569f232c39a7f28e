"""The secrets file: NAME=value lines on the control machine, never in git."""

import os
import secrets
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fleet.errors import FleetError
from fleet.spec.files import read_text
from fleet.spec.mistakes import SpecError

BROKER_WORKER = "BROKER_WORKER_PASSWORD"
BROKER_MONITOR = "BROKER_MONITOR_PASSWORD"
BROKER_ADMIN = "BROKER_ADMIN_PASSWORD"
"""Of the user by which a deploy, on the broker's machine, changes the passwords that a running Redis accepts."""
FLOWER = "FLOWER_PASSWORD"
"""Needed only if the monitor has Flower."""
BROKER_NAMES = (BROKER_WORKER, BROKER_MONITOR)
"""Of those who connect to the broker."""
REDIS_NAMES = (*BROKER_NAMES, BROKER_ADMIN)
"""Of all users of our own Redis."""
COOKIE = "BROKER_ERLANG_COOKIE"
"""What the nodes of our own RabbitMQ, and its commands, know each other by. It cannot change while they run."""
GENERATED = (*REDIS_NAMES, COOKIE)
"""What `fleet secrets` makes."""
BEFORE = "_BEFORE"
"""The end of the name of a value before, while a rotation is under way: servers of the fleet accept it as well."""
SINCE = "_SINCE"
"""The end of the name of the time, in UTC, since when there has been a new value."""


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


def by_hand(path: Path | str, names: Iterable[str]) -> str:
    """What to do about a missing file of which the fleet makes nothing."""
    return f"write it with {', '.join(f'{name}=…' for name in names) or 'no line'}, and run: chmod 600 {path}"


def require(path: Path, values: Mapping[str, str], names: Iterable[str]) -> None:
    """Check that `values`, read from `path`, has all `names`. Raises SecretsError that says which are missing and where to write
    them."""
    missing = [name for name in names if not values.get(name)]
    if missing:
        hint = f"; or make what the broker needs with: fleet secrets {path}" if set(missing) & set(GENERATED) else ""
        raise SecretsError("\n".join(f"{path}: {name} is missing; add the line {name}=…{hint}" for name in missing))


def ensure(path: Path, names: Sequence[str] = GENERATED) -> list[str]:
    """Add those of `names` that `path` lacks, freshly generated. Only the owner can read a file that this creates.

    Returns the names that were added. Existing values stay as they are. Raises SecretsError if the file cannot be written.
    """
    existing = read(path) if path.exists() else Secrets()
    added = [name for name in names if not existing.get(name)]
    if added:
        _write(path, {name: secrets.token_urlsafe(24) for name in added})
    return added


def accepted(values: Mapping[str, str], name: str) -> list[str]:
    """The passwords that a server of ours accepts under a name: the present one, and the one before while there is one."""
    return list(dict.fromkeys([values[name], *filter(None, [values.get(name + BEFORE)])]))


def is_generated(name: str) -> bool:
    """Whether the fleet makes the value of a secret, and servers of the fleet alone know it."""
    return name in (*GENERATED, FLOWER)


def require_rotatable(path: Path, values: Mapping[str, str], name: str) -> None:
    """Raises SecretsError if `values`, read from `path`, have nothing of this name that could change."""
    if name == COOKIE:
        raise SecretsError(f"{name}: nodes of RabbitMQ know each other by it, and it cannot change while they run")
    if name.endswith((BEFORE, SINCE)):
        raise SecretsError(f"{name}: write the name without the ending {BEFORE if name.endswith(BEFORE) else SINCE}")
    if not values.get(name):
        names = ", ".join(known for known in values if not known.endswith((BEFORE, SINCE))) or "no secret"
        raise SecretsError(f"{path}: has no {name}; it has {names}")


def rotate(path: Path, name: str, value: str | None = None, now: datetime | None = None) -> None:
    """Write a new value of `name` to `path`, and keep the one before under NAME_BEFORE, and the time. Everything else stays as it
    is, and the file is written as a whole or not at all.

    value: None generates one. Raises SecretsError if the file lacks the name, has one before already, or cannot be read or
    written.
    """
    values = read(path)
    require_rotatable(path, values, name)
    if name + BEFORE in values:
        raise SecretsError(
            f"{path}: {name}{BEFORE} is there from a rotation that is not finished; deploy, and then: "
            f"fleet secrets INVENTORY --finish {name}"
        )
    new = secrets.token_urlsafe(24) if value is None else value.strip()
    if not new:
        raise SecretsError(f"{name}: no new value came; write it on stdin, or at the prompt")
    if not new.isprintable():
        raise SecretsError(f"{name}: the new value has to be one line of text")
    if new == values[name]:
        raise SecretsError(f"{name}: the new value is the present one")
    since = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    _write(path, {name: new, name + BEFORE: values[name], name + SINCE: since})


def finish(path: Path, name: str) -> None:
    """Forget the value before of `name`. Raises SecretsError as `rotate`, and if there is none."""
    require_rotation(path, read(path), name)
    _write(path, {name + BEFORE: None, name + SINCE: None})


def require_rotation(path: Path, values: Mapping[str, str], name: str) -> None:
    """Raises SecretsError if no rotation of `name` is under way in `values`, read from `path`."""
    if name + BEFORE not in values:
        raise SecretsError(f"{path}: no {name}{BEFORE}, so that no rotation of {name} is under way")


def since(values: Mapping[str, str], name: str) -> datetime | None:
    """When the present value of `name` was written; None if that is not known."""
    try:
        return datetime.strptime(values.get(name + SINCE, ""), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def unfinished(values: Mapping[str, str]) -> dict[str, str]:
    """Name → what to know of its rotation that is under way. The value before is still accepted."""
    lines = {}
    for name in values:
        if name + BEFORE in values:
            began = since(values, name)
            day = f" since {began:%Y-%m-%d}" if began else ""
            lines[name] = f"the value before is accepted as well{day}; end that with: fleet secrets INVENTORY --finish {name}"
    return lines


def _write(path: Path, changes: Mapping[str, str | None]) -> None:
    """Write a file anew, as a whole or not at all, with other values of some names; None leaves a name out. A name that is new
    comes after the one that it begins with, or last. Raises SecretsError."""
    lines = read_text(path).splitlines() if path.exists() else []
    written: list[str] = []
    left = dict(changes)
    for line in lines:
        name = line.partition("=")[0].strip()
        if name not in changes:
            written.append(line)
        elif left.get(name) is not None:
            written += [f"{key}={left.pop(key)}" for key in list(left) if key.startswith(name) and left[key] is not None]
    written += [f"{name}={value}" for name, value in left.items() if value is not None]
    target = path.resolve()
    unfinished = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, unfinished = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{line}\n" for line in written)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).replace(target)
    except OSError as error:
        if unfinished:
            Path(unfinished).unlink(missing_ok=True)
        is_about_folder = error.filename == str(target.parent)
        raise SecretsError(f"{path.parent if is_about_folder else path}: {error.strerror}") from None
