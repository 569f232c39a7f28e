"""What was found out of a broker by trying what the fleet does."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.errors import FleetError


class ProbeError(FleetError):
    """The broker was not asked. str() says why."""


class RefusedError(FleetError):
    """The broker answers, and does not let the fleet in, or the fleet does not trust it. str() says why."""


@dataclass(frozen=True)
class Verdict:
    """errors: why the fleet cannot use the broker. losses: what the fleet has to do without."""

    errors: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
