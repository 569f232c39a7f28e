"""The JSON files that the control machine keeps of an inventory between runs. They hold no secrets, and to lose one costs nothing
but what a run says because of it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

MOST = 8 << 20
"""Bytes of a file: 100 times what an inventory of 1000 machines needs. More is not ours, and is not read."""

Content = TypeVar("Content", bound=BaseModel)


def folder(inventory: Path) -> Path:
    """Where the files of this inventory are: $XDG_STATE_HOME (or ~/.local/state)/celery-fleet/<name>-<hash of the path>."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = inventory.resolve()
    return state / "celery-fleet" / f"{path.stem}-{sha256(str(path).encode()).hexdigest()[:16]}"


def read(path: Path, kind: type[Content]) -> tuple[Content, str]:
    """The content of a file, and why it cannot be read, if it cannot. Then, and if there is no file, the content is empty."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST + 1)
        if len(text) > MOST:
            return kind(), f"{path}: not read, since it is larger than {MOST >> 20} MiB"
        return kind.model_validate_json(text), ""
    except FileNotFoundError:
        return kind(), ""
    except OSError as error:
        return kind(), f"{path}: not read: {error.strerror}"
    except ValidationError:
        return kind(), f"{path}: not read, since it is damaged, or of another version of celery-fleet"


def write(path: Path, content: BaseModel) -> str:
    """Replace a file at once: nobody ever reads half of it. Returns why it could not be written; empty if it was."""
    text = content.model_dump_json().encode()
    if len(text) > MOST:
        return f"{path}: not written, since it would be larger than {MOST >> 20} MiB"
    unfinished = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        Path(unfinished).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(unfinished).unlink()
        return f"{path}: not written: {error.strerror}; XDG_STATE_HOME says where to keep it"
    return ""
