"""How pyinfra reads an inventory and its group data: a mistake in them is the line that `fleet` prints, and no traceback. Nor is
there one for a file of this machine."""

from __future__ import annotations

from functools import partial, wraps
from pathlib import Path
from traceback import extract_tb
from typing import Any

from pyinfra import logger
from pyinfra.api.util import PYINFRA_INSTALL_DIR
from pyinfra_cli import cli, inventory
from pyinfra_cli.exceptions import UnexpectedExternalError

from fleet.engine.refusal import RefusedError, explain_file, refused
from fleet.inventory.execute import errors_in
from fleet.inventory.read import data_files, refuse_groups, refuse_no_file, refuse_nobody
from fleet.spec.mistakes import SpecError

_ENGINE = Path(__file__).parent
command_line: Any = cli
reader: Any = inventory


def install() -> None:
    """To be called from config.py, which pyinfra runs before it reads the inventory."""
    command_line.make_inventory = _refusing(command_line.make_inventory)
    reader.exec_file = _explaining(reader.exec_file)
    reader._get_groups_from_filename = _groups
    command_line.WrappedError = _unless_refused(command_line.WrappedError)
    command_line.UnexpectedInternalError = _unless_of_a_file(command_line.UnexpectedInternalError)


def _refusing(make_inventory: Any) -> Any:
    @wraps(make_inventory)
    def make(argument: str, *args: Any, **kwargs: Any) -> Any:
        path = Path(argument)
        try:
            if path.is_dir() or _names_a_file(argument):
                refuse_no_file(path)
            if path.is_file():
                data_files(path)
            made = make_inventory(argument, *args, **kwargs)
            if path.is_file():
                refuse_nobody(path, made.hosts)
        except SpecError as error:
            raise RefusedError(refused(str(error))) from None
        return made

    return make


def _names_a_file(argument: str) -> bool:
    """Whether it cannot be a host, or a list of hosts: pyinfra takes these too, and Paraguay's end with .py."""
    return argument.endswith(".py") and "," not in argument and ("/" in argument or argument.count(".") == 1)


def _explaining(exec_file: Any) -> Any:
    @wraps(exec_file)
    def execute(filename: str, *args: Any, **kwargs: Any) -> Any:
        with errors_in(Path(filename)):
            try:
                return exec_file(filename, *args, **kwargs)
            except UnexpectedExternalError as error:
                raise error.exception from None

    return execute


def _groups(filename: str) -> dict[str, Any]:
    """The groups of an inventory file, in place of pyinfra's function for it, which passes over what it does not know."""
    names = reader.exec_file(filename, return_locals=True)
    refuse_groups(Path(filename), names)
    return {name: value for name, value in names.items() if reader._is_inventory_group(name, value)}


def _unless_refused(wrapped: Any) -> Any:
    """pyinfra puts the last line of Python that is not its own before an error. A line of the engine's says nothing to a user."""

    def make(error: Exception) -> Any:
        if isinstance(error, RefusedError):
            return error
        lines = [
            frame.filename for frame in extract_tb(error.__traceback__) if not frame.filename.startswith(PYINFRA_INSTALL_DIR)
        ]
        return wrapped(error.with_traceback(None) if lines and Path(lines[-1]).is_relative_to(_ENGINE) else error)

    return make


def _unless_of_a_file(internal: Any) -> Any:
    """A full or read-only disk is no defect; and pyinfra, which keeps the traceback of a defect, may not be able to."""

    def make(error: Exception) -> Any:
        if isinstance(error, OSError) and error.filename:
            return RefusedError(explain_file(error))
        shown = internal(error)
        shown.show = partial(_show, shown.show)
        return shown

    return make


def _show(show: Any, file: Any = None) -> None:
    try:
        show(file)
    except OSError as error:
        logger.error(f"--> the traceback was not kept: {explain_file(error)}")
