"""Every error for users is a FleetError: the command shows its text and no traceback."""

import importlib
import pkgutil

import fleet
from fleet.errors import FleetError


def test_every_error_class_of_the_control_side_is_a_fleet_error() -> None:
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(fleet.__path__, "fleet.")
        if not module.name.startswith("fleet.engine")  # its errors are pyinfra's
    ]
    errors = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__.startswith("fleet.")
    }
    assert {"SpecError", "SSHError", "LockError", "DrillError"} <= {error.__name__ for error in errors}
    assert {error.__name__ for error in errors if not issubclass(error, FleetError)} == set()


def test_exit_codes() -> None:
    from fleet.drill.errors import DrillError
    from fleet.spec.mistakes import SpecError

    assert (FleetError.exit_code, SpecError.exit_code, DrillError.exit_code) == (1, 1, 2)
