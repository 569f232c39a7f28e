"""A role as a Deployment, and how many of its pods may be away at once. Pure."""

from __future__ import annotations

from fleet.kubernetes.cluster import Cluster
from fleet.kubernetes.pod import PART_OF, Object, labels, name, template
from fleet.plan import process

MARGIN = 60
"""Seconds that a rollout may take besides what its pods do."""
ACCOUNT: Object = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "celery-worker", "labels": PART_OF},
    "automountServiceAccountToken": False,
}


def deployment(cluster: Cluster, role: str) -> Object:
    """A role's pods. Their number is the autoscaler's, if the role has one: then it is not written, so that to apply the
    manifest again does not set it back."""
    worker = cluster.roles[role].worker
    spec: Object = {
        "selector": {"matchLabels": labels(cluster, role)},
        "revisionHistoryLimit": cluster.host(role).settings.releases_kept,
        # A pod that consumes and then crashes is noticed before the next is replaced.
        "minReadySeconds": worker.settle,
        "progressDeadlineSeconds": process.START_SECONDS + worker.longest_stop + worker.settle + MARGIN,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling_update(cluster, role)},
        "template": template(cluster, role),
    }
    if role not in cluster.scales:
        spec = {"replicas": cluster.replicas(role), **spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name(cluster, role), "labels": {**labels(cluster, role), **PART_OF}},
        "spec": spec,
    }


def rolling_update(cluster: Cluster, role: str) -> Object:
    """maxUnavailable and maxSurge, such that min_consumers go on: if there are not enough, a pod more comes first. Of a role that
    scales the least number counts, and there may be many more: as many come first as may be away otherwise."""
    worker, replicas = cluster.roles[role].worker, max(1, cluster.replicas(role))
    away = _share(worker.max_unavailable, replicas)
    if replicas - away >= worker.min_consumers:
        # At least one, as on machines; a share below one would be none.
        return {"maxUnavailable": worker.max_unavailable if away < replicas or replicas == 1 else away, "maxSurge": 0}
    surge = worker.max_unavailable if role in cluster.scales else 1
    return {"maxUnavailable": max(0, replicas - worker.min_consumers), "maxSurge": surge}


def disruption_budget(cluster: Cluster, role: str) -> Object:
    """How many pods a drained node may take: min_consumers stay. A role that has no more than these, or that reaches zero,
    would block every drain, so that there one pod may go."""
    worker, least = cluster.roles[role].worker, cluster.replicas(role)
    keeps = 0 < worker.min_consumers < least
    budget: Object = {"minAvailable": worker.min_consumers} if keeps else {"maxUnavailable": 1}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name(cluster, role), "labels": {**labels(cluster, role), **PART_OF}},
        # A pod that is not ready does no work that a drain could interrupt.
        "spec": {**budget, "selector": {"matchLabels": labels(cluster, role)}, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    }


def _share(unavailable: int | str, replicas: int) -> int:
    if isinstance(unavailable, str):
        return max(1, replicas * int(unavailable.removesuffix("%")) // 100)
    return min(unavailable, replicas)
