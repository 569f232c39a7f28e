"""The decisions of Kubernetes' HorizontalPodAutoscaler on one external metric, sync by sync. Pure but for its own memory.

After kube-controller-manager 1.36 (pkg/controller/podautoscaler). tests/unit/fleet/kubernetes/data has what the real one decided
in 985 syncs, and this decides the same in each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SYNC = 15.0
"""Seconds between two syncs."""
WINDOW = 300.0
"""Seconds of the controller's own downscale stabilisation."""
TOLERANCE = 0.1
"""The share by which a metric may differ from its target."""


@dataclass(frozen=True)
class Policy:
    """How fast replicas may change. value: pods, or percent of what was there when the period began. period: seconds."""

    kind: Literal["Pods", "Percent"]
    value: int
    period: float


@dataclass(frozen=True)
class Rules:
    """Of one direction. window: seconds of stabilisation. select: the policy that holds of several."""

    policies: tuple[Policy, ...]
    window: float
    select: Literal["Max", "Min", "Disabled"] = "Max"
    tolerance: float = TOLERANCE


UP = Rules((Policy("Pods", 4, 15), Policy("Percent", 100, 15)), 0)
DOWN = Rules((Policy("Percent", 100, 15),), WINDOW)
"""What a `behavior` that leaves a direction or a field out means."""


@dataclass(frozen=True)
class Scaling:
    """What an autoscaler is to keep. target: of the metric; for each pod, if `is_average`. up, down: None if the manifest has no
    `behavior` at all, which is not the same as the defaults of one."""

    least: int
    most: int
    target: float
    is_average: bool = True
    up: Rules | None = None
    down: Rules | None = None


@dataclass
class Autoscaler:
    """One autoscaler. Times are seconds of any clock that only goes forward."""

    scaling: Scaling
    _recommendations: list[tuple[float, int]] = field(default_factory=list)
    _added: list[tuple[float, int]] = field(default_factory=list)
    _removed: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now: float, metric: float | None, replicas: int, ready: int | None = None) -> int:
        """The replicas that it sets. metric: None if it cannot be read. ready: pods that are; all, if not given."""
        if not self._recommendations:
            self._recommendations.append((now, replicas))
        if replicas == 0 and self.scaling.least > 0:
            return 0  # by hand: switched off
        if replicas > self.scaling.most:
            desired = self.scaling.most
        elif replicas < self.scaling.least:
            desired = self.scaling.least
        elif metric is None:
            return replicas
        else:
            asked = self._asked(metric, replicas, replicas if ready is None else ready)
            desired = self._with_rules(now, asked, replicas) if self.scaling.up else self._without_rules(now, asked, replicas)
        if desired != replicas and self.scaling.up:
            (self._added if desired > replicas else self._removed).append((now, abs(desired - replicas)))
        return desired

    def _asked(self, metric: float, replicas: int, ready: int) -> int:
        """By the metric alone."""
        scaling = self.scaling
        if scaling.is_average:
            ratio = metric / (scaling.target * replicas) if replicas else math.inf
            return replicas if self._is_tolerated(ratio) else math.ceil(metric / scaling.target)
        ratio = metric / scaling.target
        if not replicas:
            return math.ceil(ratio)
        return replicas if self._is_tolerated(ratio) else math.ceil(ratio * ready)

    def _is_tolerated(self, ratio: float) -> bool:
        up, down = (rules.tolerance if rules else TOLERANCE for rules in (self.scaling.up, self.scaling.down))
        return 1 - down <= ratio <= 1 + up

    def _without_rules(self, now: float, asked: int, replicas: int) -> int:
        recent = [number for at, number in self._recommendations if at >= now - WINDOW]
        self._remember(now, asked, WINDOW)
        limit = max(2 * replicas, 4)
        return min(max(asked, *recent, self.scaling.least), limit, self.scaling.most)

    def _with_rules(self, now: float, asked: int, replicas: int) -> int:
        up, down, scaling = self.scaling.up or UP, self.scaling.down or DOWN, self.scaling
        least = min([asked, *(number for at, number in self._recommendations if at > now - up.window)])
        most = max([asked, *(number for at, number in self._recommendations if at > now - down.window)])
        self._remember(now, asked, max(up.window, down.window))
        stable = min(max(replicas, least), most)
        if stable > replicas:
            allowed = min(scaling.most, max(replicas, self._limit(now, up, replicas, 1)))
            return max(min(stable, allowed), scaling.least)
        if stable < replicas:
            allowed = max(scaling.least, min(replicas, self._limit(now, down, replicas, -1)))
            return max(stable, allowed)
        return stable

    def _limit(self, now: float, rules: Rules, replicas: int, sign: int) -> int:
        """The most replicas that may be set in one direction (1: up), or the least."""
        if rules.select == "Disabled":
            return replicas
        limits = []
        for policy in rules.policies:
            began = replicas - _since(now - policy.period, self._added) + _since(now - policy.period, self._removed)
            if policy.kind == "Pods":
                limits.append(began + sign * policy.value)
            else:
                share = began * (1 + sign * policy.value / 100)
                limits.append(math.ceil(share) if sign > 0 else int(share))
        # The policy that allows more, or the one that allows less.
        return (max if (rules.select == "Max") is (sign > 0) else min)(limits)

    def _remember(self, now: float, asked: int, window: float) -> None:
        self._recommendations = [(at, number) for at, number in self._recommendations if at >= now - window]
        self._recommendations.append((now, asked))


def scaling_of(manifest: Mapping[str, Any]) -> Scaling:
    """What a HorizontalPodAutoscaler (autoscaling/v2) of one external metric says. Raises KeyError for one of another kind."""
    spec = manifest["spec"]
    target = spec["metrics"][0]["external"]["target"]
    is_average = target["type"] == "AverageValue"
    behavior = spec.get("behavior")
    return Scaling(
        least=spec.get("minReplicas", 1),
        most=spec["maxReplicas"],
        target=quantity(target["averageValue" if is_average else "value"]),
        is_average=is_average,
        up=None if behavior is None else _rules(behavior.get("scaleUp", {}), UP),
        down=None if behavior is None else _rules(behavior.get("scaleDown", {}), DOWN),
    )


def quantity(text: str | float) -> float:
    """A Kubernetes quantity of a metric: a number, or thousandths (`200m`)."""
    text = str(text)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _rules(given: Mapping[str, Any], defaults: Rules) -> Rules:
    policies = tuple(Policy(each["type"], each["value"], each["periodSeconds"]) for each in given.get("policies", ()))
    return Rules(
        policies or defaults.policies,
        given.get("stabilizationWindowSeconds", defaults.window),
        given.get("selectPolicy", defaults.select),
        quantity(given.get("tolerance", defaults.tolerance)),
    )


def _since(begin: float, events: Iterable[tuple[float, int]]) -> int:
    return sum(number for at, number in events if at > begin)
