"""A Python file of the user's, as an inventory or group data: run, with every error of it as one line that has file and line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import FrameSummary, extract_tb
from typing import Any

from fleet.errors import FleetError
from fleet.spec.files import not_utf8, shown
from fleet.spec.mistakes import SpecError


def execute(path: Path) -> dict[str, Any]:
    """The names that a file sets. Raises SpecError if it does not run.

    As pyinfra runs it: the text is UTF-8, and modules of the working directory can be imported.
    """
    if "." not in sys.path:
        sys.path.append(".")
    names: dict[str, Any] = {"__file__": str(path)}
    with errors_in(path):
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)  # noqa: S102 - it is the user's own program
    return names


@contextmanager
def errors_in(path: Path) -> Iterator[None]:
    """Turns every error of the file's code into a SpecError of one line; one that the file words itself stays as it is."""
    try:
        yield
    except SpecError:
        raise
    except FleetError as error:  # as of `secrets.ensure` in an inventory
        raise SpecError(str(error).splitlines()) from None
    except SystemExit as end:  # inventory/lab.py ends so if there is no lab
        raise SpecError([str(end)]) from None
    except Exception as error:
        raise SpecError([explain(path, error)]) from error


def explain(path: Path, error: Exception) -> str:
    """One line for an error that the code in `path` raised: where, what, and in which other file if it is not in this one."""
    if isinstance(error, UnicodeDecodeError) and not _frames(path, error):
        return not_utf8(path)
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).absolute() == path.absolute():
        return f"{_place(path, error.lineno)}: {type(error).__name__}: {error.msg}"
    own = _frames(path, error)
    if isinstance(error, OSError) and not own:
        return f"{shown(path)}: {error.strerror or error}"
    what = " ".join(f"{type(error).__name__}: {_message(error)}".split()).rstrip(": ")
    return f"{_place(path, own[-1].lineno if own else None)}: {what}{_elsewhere(path, error) if own else ''}"


def _message(error: Exception) -> str:
    """Without the source that errors of a compiler, and of Jinja, print too."""
    return str(error.msg if isinstance(error, SyntaxError) else getattr(error, "message", None) or error)


def _elsewhere(path: Path, error: Exception) -> str:
    """` (in FILE, line N)`, if the error is in another file of the user's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" (in {_place(Path(error.filename), error.lineno)})"
    last = next(iter(extract_tb(error.__traceback__)[-1:]), None)
    if last is None or isinstance(error, ImportError) or Path(last.filename).absolute() == path.absolute():
        return ""
    if not Path(last.filename).is_file() or "site-packages" in last.filename:
        return ""
    return f" (in {_place(Path(last.filename), last.lineno)})"


def _frames(path: Path, error: Exception) -> list[FrameSummary]:
    return [frame for frame in extract_tb(error.__traceback__) if Path(frame.filename).absolute() == path.absolute()]


def _place(path: Path, line: int | None) -> str:
    return shown(path) + (f", line {line}" if line else "")
