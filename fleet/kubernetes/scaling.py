"""How many pods a role has: by what runs, is prefetched and waits, and by how long the oldest waits. Never by a list's length,
which is blind to what workers hold. Pure."""

from __future__ import annotations

from fleet.kubernetes.cluster import ZERO_BY_HPA, Cluster, ClusterError
from fleet.kubernetes.pod import PART_OF, Object, labels, name
from fleet.spec.pod import Scale

DEMAND = "fleet_role_tasks"
"""Tasks of a role's queues that run, are prefetched or wait."""
AGE = "fleet_role_age_ratio"
"""How long the oldest task of a role's queues has waited, divided by what it may."""
DOWN_WINDOW = 300
"""Seconds for which fewer pods have to be enough before some go."""
BEHAVIOR: Object = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}, {"type": "Pods", "value": 4, "periodSeconds": 15}],
        "selectPolicy": "Max",
    },
    "scaleDown": {
        "stabilizationWindowSeconds": DOWN_WINDOW,
        "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
        "selectPolicy": "Max",
    },
}
EXPORTER = "fleet-exporter"
PORT = 9150


def autoscaler(cluster: Cluster, role: str) -> Object:
    """The manifest of what scales a role. Raises ClusterError if this Kubernetes cannot."""
    scale = cluster.scales[role]
    return _keda(cluster, role, scale) if scale.by == "keda" else _hpa(cluster, role, scale)


def deployments(cluster: Cluster) -> dict[str, str]:
    """Role → its Deployment, of roles that scale."""
    return {role: name(cluster, role) for role in cluster.scales}


def demand_per_pod(cluster: Cluster, role: str, scale: Scale) -> float:
    """Tasks that there is one pod for."""
    return scale.target * cluster.roles[role].sized.concurrency


def has_objective(cluster: Cluster, role: str) -> bool:
    """Whether a queue of the role has an objective for the wait, and the broker knows how long its oldest task waits.

    RabbitMQ does not, and with a metric that is missing no pod would ever go.
    """
    return cluster.plan.fleet.transport == "redis" and any(
        queue in cluster.host(role).settings.slo for queue in cluster.roles[role].queues
    )


def _hpa(cluster: Cluster, role: str, scale: Scale) -> Object:
    if scale.min == 0 and cluster.minor < ZERO_BY_HPA:
        raise ClusterError(
            f"{role}_worker.kubernetes.scale.min: 0 needs Kubernetes 1.{ZERO_BY_HPA}, and this is 1.{cluster.minor}: "
            'write 1, or "by": "keda"'
        )
    selector = {"matchLabels": {"role": role}}
    metrics = [
        _external(DEMAND, selector, {"type": "AverageValue", "averageValue": _milli(demand_per_pod(cluster, role, scale))})
    ]
    if has_objective(cluster, role):
        metrics.append(_external(AGE, selector, {"type": "Value", "value": "1"}))
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name(cluster, role), "labels": {**labels(cluster, role), **PART_OF}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name(cluster, role)},
            "minReplicas": scale.min,
            "maxReplicas": scale.max,
            "metrics": metrics,
            "behavior": BEHAVIOR,
        },
    }


def _keda(cluster: Cluster, role: str, scale: Scale) -> Object:
    """KEDA reads the exporter's own page. What runs is counted, so that a busy pod is never one too many; and if the exporter is
    away, none goes."""
    metrics = [(DEMAND, demand_per_pod(cluster, role, scale), "AverageValue")]
    if has_objective(cluster, role):
        metrics.append((AGE, 1.0, "Value"))
    longest = cluster.roles[role].worker.time_limit
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name(cluster, role), "labels": {**labels(cluster, role), **PART_OF}},
        "spec": {
            "scaleTargetRef": {"name": name(cluster, role)},
            "pollingInterval": 15,
            # From some to none goes at once, past every rule: not before the longest task has ended.
            "cooldownPeriod": max(DOWN_WINDOW, longest),
            "minReplicaCount": scale.min,
            "maxReplicaCount": scale.max,
            "fallback": {"failureThreshold": 3, "replicas": max(1, scale.min), "behavior": "currentReplicasIfHigher"},
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": BEHAVIOR}},
            "triggers": [
                {
                    "type": "metrics-api",
                    "metricType": kind,
                    "metadata": {
                        # KEDA asks from a namespace of its own.
                        "url": f"http://{EXPORTER}.{cluster.namespace}.svc:{PORT}/metrics",
                        "format": "prometheus",
                        "valueLocation": f'{metric}{{role="{role}"}}',
                        "targetValue": f"{value:g}",
                        "activationTargetValue": "0",
                    },
                }
                for metric, value, kind in metrics
            ],
        },
    }


def _external(metric: str, selector: Object, target: Object) -> Object:
    return {"type": "External", "external": {"metric": {"name": metric, "selector": selector}, "target": target}}


def _milli(value: float) -> str:
    return f"{round(value * 1000)}m"
