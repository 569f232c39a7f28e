"""A ScaledObject (keda.sh/v1alpha1) as KEDA 2.20 has it, strictly: no other field, since a server of before 2.20 would take
almost any."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string", "minLength": 1}


def of(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {"type": "object", "additionalProperties": False, "required": [*required], "properties": properties}


def whole(least: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least}


POLICY = of(("type", "value", "periodSeconds"), type={"enum": ["Percent", "Pods"]}, value=whole(1), periodSeconds=whole(1))
RULES = of(
    policies={"type": "array", "items": POLICY},
    selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    stabilizationWindowSeconds=whole(0),
    tolerance={"type": "string"},
)
BEHAVIORS = ("static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower", "scalingModifiers")
METRICS_API = of(
    ("url", "valueLocation"),
    url=TEXT,
    format={"enum": ["prometheus", "json", "xml", "yaml"]},
    valueLocation=TEXT,
    targetValue=TEXT,
    activationTargetValue=TEXT,
    aggregateFromKubeServiceEndpoints=TEXT,
    aggregationType={"enum": ["average", "sum", "max", "min"]},
)
"""All values of a trigger's metadata are strings."""
SCALED_OBJECT = of(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    metadata={"type": "object"},
    spec=of(
        ("scaleTargetRef", "triggers"),
        scaleTargetRef=of(("name",), name=TEXT, kind=TEXT, apiVersion=TEXT, envSourceContainerName=TEXT),
        pollingInterval=whole(1),
        cooldownPeriod=whole(0),
        initialCooldownPeriod=whole(0),
        idleReplicaCount=whole(0),
        minReplicaCount=whole(0),
        maxReplicaCount=whole(1),
        fallback=of(
            ("failureThreshold", "replicas"),
            failureThreshold=whole(0),
            replicas=whole(0),
            behavior={
                "enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower", "scalingModifiers"]
            },
        ),
        advanced=of(
            restoreToOriginalReplicaCount={"type": "boolean"},
            horizontalPodAutoscalerConfig=of(name=TEXT, behavior=of(scaleUp=RULES, scaleDown=RULES)),
        ),
        triggers={
            "type": "array",
            "minItems": 1,
            "items": of(
                ("type", "metadata"),
                type={"const": "metrics-api"},
                metadata=METRICS_API,
                name=TEXT,
                metricType={"enum": ["AverageValue", "Value"]},
                useCachedMetrics={"type": "boolean"},
                authenticationRef=of(("name",), name=TEXT, kind=TEXT),
            ),
        },
    ),
)
