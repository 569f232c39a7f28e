"""How a fault went: within which time its workers had to be back, what was not as expected, and the account. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleet.drill.faults import Fault
from fleet.drill.ledger import Account

RECOVERY_SECONDS = 15.0
"""Seconds after the end of a fault within which every affected worker should start a task again."""
LONGEST_RECOVERY = 300.0
"""Seconds for the recovery of a killed worker, if the fleet has no visibility timeout of its own."""


@dataclass(frozen=True)
class FaultOutcome:
    """A fault, done. at: what it affected. seconds: how long it lasted.

    recovery: seconds from its end until every affected worker had started a task; None if one never did. restarted: units.
    parked: whether the task was parked that should be; None if the fault has no such task. visibility_timeout: in seconds.
    """

    fault: Fault
    at: str
    seconds: float
    recovery: float | None
    restarted: tuple[str, ...]
    parked: bool | None
    visibility_timeout: int | None
    account: Account

    @property
    def recovery_limit(self) -> float:
        """Seconds that the recovery may take. The tasks of a killed worker come back after the visibility timeout."""
        return (self.visibility_timeout or LONGEST_RECOVERY) if self.fault.kills else RECOVERY_SECONDS

    @property
    def problems(self) -> list[str]:
        """The expectations that the fault did not meet, in words. The account has the lost tasks."""
        problems = []
        if self.recovery is None or self.recovery > self.recovery_limit:
            problems.append(f"not every worker was back within {self.recovery_limit:.0f} s")
        if self.parked is False:
            problems.append("the task was not parked")
        return problems

    def as_json(self) -> dict[str, Any]:
        """The outcome as plain values, for --json."""
        return {
            "drill": self.fault.name,
            "at": self.at,
            **self.account.as_json(),
            "fault_s": round(self.seconds, 1),
            "back_s": None if self.recovery is None else round(self.recovery, 1),
            "back_within_s": self.recovery_limit,
            "restarted": list(self.restarted),
            "parked": int(bool(self.parked)),
            "visibility_timeout_s": self.visibility_timeout,
            "went_wrong": "; ".join(self.problems) or None,
        }
