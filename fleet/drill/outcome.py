"""How a fault went: within which time its workers had to be back, what was not as expected, and the account. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleet.drill.faults import Fault
from fleet.drill.ledger import Account
from fleet.plan.plan import Plan
from fleet.spec.reliability import RABBITMQ_RELIABILITY

RECOVERY_SECONDS = 15.0
"""Seconds after the end of a fault within which every affected worker should start a task again."""
START_SECONDS = 30.0
"""Seconds that a killed worker may take to start again besides: 17 s in an emulated machine (measured)."""
LONGEST_RECOVERY = 300.0
"""Seconds for the recovery of a killed worker, if the fleet has neither a lease nor a visibility timeout of its own."""


def silence_of(plan: Plan) -> int | None:
    """Seconds for which a dead machine is silent before RabbitMQ gives its tasks to others: three heartbeats; None of Redis."""
    return 3 * int(RABBITMQ_RELIABILITY["broker_heartbeat"]) if plan.fleet.transport == "amqp" else None


def recovery_limit(fault: Fault, lease: int | None, visibility_timeout: int | None, silence: int | None = None) -> float:
    """Seconds within which every worker has to be at work again, with the tasks that a dead one held.

    A worker that systemd starts again gives back at once what it held before. What a dead machine held comes back when its
    lease is over; without a lease, either does after the visibility timeout. silence: as of `silence_of`. RabbitMQ gives back
    what a dead process held at once.
    """
    if fault.kills is None:
        return RECOVERY_SECONDS
    if silence is not None:
        return RECOVERY_SECONDS + (START_SECONDS if fault.kills == "worker" else silence)
    if lease is None:
        return visibility_timeout or LONGEST_RECOVERY
    return RECOVERY_SECONDS + (START_SECONDS if fault.kills == "worker" else lease)


@dataclass(frozen=True)
class FaultOutcome:
    """A fault, done. at: what it affected. seconds: how long it lasted.

    recovery: seconds from its end until every affected worker had started a task; None if one never did. restarted: units.
    begun_again: seconds from the fault until the last task that it interrupted had begun again; None if it interrupted none.
    parked: whether the task was parked that should be; None if the fault has no such task. lease, visibility_timeout: in seconds.
    silence: as of `silence_of`.
    """

    fault: Fault
    at: str
    seconds: float
    recovery: float | None
    begun_again: float | None
    restarted: tuple[str, ...]
    parked: bool | None
    lease: int | None
    visibility_timeout: int | None
    account: Account
    silence: int | None = None

    @property
    def recovery_limit(self) -> float:
        """Seconds that the recovery may take."""
        return recovery_limit(self.fault, self.lease, self.visibility_timeout, self.silence)

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
            "begun_again_s": None if self.begun_again is None else round(self.begun_again, 1),
            "restarted": list(self.restarted),
            "parked": int(bool(self.parked)),
            "lease_s": self.lease,
            "visibility_timeout_s": self.visibility_timeout,
            "silence_s": self.silence,
            "went_wrong": "; ".join(self.problems) or None,
        }
