"""One worker process of one role on one host, and the one road to its settings: `instance.worker`."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet.plan.sizing import SizedWorker
from fleet.spec.worker import Worker


@dataclass(frozen=True)
class Instance:
    """One worker process: `celery-<role>@<number>.service` on `host`. Instances are equal if host, role and number are.

    sized: the role's settings as they hold on this very host, every flag a number. A host may override its group's settings, so
    nothing about an instance may be read from another host's.
    """

    host: str
    role: str
    number: int
    sized: SizedWorker = field(compare=False, repr=False)

    @property
    def worker(self) -> Worker:
        """The settings of this instance."""
        return self.sized.worker

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that this instance consumes, each once, in their order."""
        return tuple(dict.fromkeys(self.worker.queues))

    @property
    def unit(self) -> str:
        """Its systemd unit."""
        return f"celery-{self.role}@{self.number}.service"

    def __str__(self) -> str:
        return f"{self.host}:{self.role}@{self.number}"
