"""What a worker role is on Kubernetes, besides what it is on machines."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from fleet.spec.fields import Model, setting
from fleet.spec.sources import OURS
from fleet.spec.values import Cores, Destinations, DnsName, LabelKey, LabelValue, Share, Whole

KUBERNETES = "Kubernetes' reference of its API"


class Scale(Model):
    """How many pods a role has as its load changes: `"kubernetes": {"scale": {…}}`."""

    min: Whole = setting(
        "Pods that are kept when nothing comes. 0 needs Kubernetes 1.37, or KEDA.",
        why="The first task after none has to wait for a pod to start.",
        source=OURS,
        default=1,
        unit="pods",
        ge=0,
    )
    max: Whole = setting("The most pods.", why="It bounds what a burst may cost.", source=OURS, unit="pods", gt=0, le=10_000)
    target: Share = setting(
        "Tasks for each slot that a pod is there for: those that run, are prefetched or wait, by all slots.",
        why="With 0.8, a fifth of the slots is free for what comes while pods start. A list's length alone is blind to what "
        "workers hold.",
        source=OURS,
        default=0.8,
    )
    by: Literal["hpa", "keda"] = setting(
        "Who scales: Kubernetes' own HorizontalPodAutoscaler, or KEDA, which has to be installed.",
        why="The former needs nothing else.",
        source=OURS,
        default="hpa",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Scale:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self


class Pod(Model):
    """A role's pods: `"kubernetes": {…}` in `<group>_worker`. Machines ignore it."""

    scale: Scale | None = setting(
        "How the number of pods follows the load; see below.",
        why="Without it, there are as many pods as the inventory's machines have instances.",
        source=OURS,
        default=None,
    )
    cpu: Cores | None = setting(
        'Cores that a node has to have free for a pod (requests.cpu), e.g. "500m" or 2.',
        why="None is 0.9 a slot with workload cpu, since a node keeps some for itself; half a core with io, and 1 with gpu.",
        source=OURS,
        default=None,
        unit="cores",
        shown="`None` (by workload)",
    )
    node_selector: dict[LabelKey, LabelValue] = setting(
        'Labels of the nodes that may run the pods, e.g. {"pool": "workers"}.', why="Any node.", source=KUBERNETES, default={}
    )
    priority_class: DnsName | None = setting(
        "PriorityClass of the pods. It has to exist.", why="None: that of the cluster.", source=KUBERNETES, default=None
    )
    egress: Destinations = setting(
        'Where tasks may connect to besides the broker and the results: networks with a port, e.g. "10.0.0.0/8:5432". '
        '"0.0.0.0/0:443" is any HTTPS.',
        why="What a task does not need, nobody who takes it over can reach.",
        source=OURS,
        default=[],
    )
