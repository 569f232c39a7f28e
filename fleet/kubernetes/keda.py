"""The decisions of KEDA's executor around an autoscaler: from none to some, and from some to none. After KEDA 2.20."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fleet.kubernetes.autoscaler import Autoscaler, Scaling

POLLING = 15.0
"""Seconds between two looks at a trigger."""


@dataclass
class Keda:
    """A ScaledObject. cooldown: seconds without a task after which no pod is left."""

    scaling: Scaling
    cooldown: float
    _active_at: float | None = None
    _autoscaler: Autoscaler = field(init=False)

    def __post_init__(self) -> None:
        # Its HorizontalPodAutoscaler never goes below one: none is the executor's.
        self._autoscaler = Autoscaler(replace(self.scaling, least=max(1, self.scaling.least)))

    def sync(self, now: float, metric: float | None, replicas: int, ready: int | None = None) -> int:
        """The replicas that it sets. metric: None if it cannot be read: then nothing goes (currentReplicasIfHigher)."""
        if metric is None:
            return replicas
        if metric > 0:
            self._active_at = now
            if replicas == 0:
                return max(1, self.scaling.least)
        elif self.scaling.least == 0 and replicas and (self._active_at is None or now - self._active_at >= self.cooldown):
            return 0  # at once, past the autoscaler's rules
        return self._autoscaler.sync(now, metric, replicas, ready) if replicas else 0
