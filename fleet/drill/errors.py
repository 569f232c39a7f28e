"""Why a drill ends early."""

from __future__ import annotations

from fleet.errors import FleetError


class DrillError(FleetError):
    """The drill cannot go on. Exit code 2: 1 says that a task was lost or that a phase failed."""

    exit_code = 2
