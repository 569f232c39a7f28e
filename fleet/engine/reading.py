"""How pyinfra reads an inventory and its group data: a mistake in them is the line that `fleet` prints, and no traceback. Nor is
there one for a file of this machine."""

from __future__ import annotations

from functools import partial, wraps
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra_cli import cli, inventory
from pyinfra_cli.exceptions import UnexpectedExternalError

from fleet.engine.refusal import RefusedError, explain_file, refused
from fleet.inventory.execute import errors_in
from fleet.inventory.read import data_files, refuse_groups, refuse_no_file, refuse_nobody
from fleet.spec.mistakes import SpecError

command_line: Any = cli
reader: Any = inventory


def install() -> None:
    """To be called from config.py, which pyinfra runs before it reads the inventory."""
    command_line.make_inventory = _refusing(command_line.make_inventory)
    reader.exec_file = _explaining(reader.exec_file)
    command_line.WrappedError = _unless_refused(command_line.WrappedError)
    command_line.UnexpectedInternalError = _unless_of_a_file(command_line.UnexpectedInternalError)


def _refusing(make_inventory: Any) -> Any:
    @wraps(make_inventory)
    def make(argument: str, *args: Any, **kwargs: Any) -> Any:
        path = Path(argument)
        try:
            if path.suffix == ".py" or path.is_dir():
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


def _explaining(exec_file: Any) -> Any:
    @wraps(exec_file)
    def execute(filename: str, *args: Any, **kwargs: Any) -> Any:
        path = Path(filename)
        with errors_in(path):
            try:
                names = exec_file(filename, *args, **kwargs)
            except UnexpectedExternalError as error:
                raise error.exception from None
        if path.parent.name != "group_data":
            refuse_groups(path, names)
        return names

    return execute


def _unless_refused(wrapped: Any) -> Any:
    """pyinfra puts a line of ours before the text of an error; a refusal is not about that line."""
    return lambda error: error if isinstance(error, RefusedError) else wrapped(error)


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
