"""What KEDA is told: strictly by its fields."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.unit.fleet.kubernetes.keda_schema import SCALED_OBJECT
from tests.unit.fleet.kubernetes.kubernetes_support import BATCH, WEB, cluster_of, of_kind

TRIGGER = ("spec", "triggers", 0)


def scaled(**more: Any) -> Any:
    """A role's ScaledObject."""
    roles = {"web": {**WEB, "kubernetes": {"scale": {"min": 0, "max": 5, "by": "keda"}}}, "batch": BATCH}
    return of_kind(cluster_of(roles, **more), "ScaledObject", "web")


def mistakes(each: Any) -> list[str]:
    """All that KEDA's server would refuse."""
    refusals = [error.message for error in Draft202012Validator(SCALED_OBJECT).iter_errors(each)]
    spec = each["spec"]
    if spec["minReplicaCount"] > spec["maxReplicaCount"]:
        refusals.append("minReplicaCount is more than maxReplicaCount")
    return refusals


@pytest.mark.parametrize("more", [{}, {"slo": {"default": 10}}])
def test_it_has_keda_s_fields_and_no_others(more: dict[str, Any]) -> None:
    each = scaled(**more)
    assert mistakes(each) == []
    assert len(each["spec"]["triggers"]) == 1 + bool(more)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "coolDownPeriod"), 30),
        (("spec", "pollingInterval"), 0),
        (("spec", "cooldownPeriod"), -1),
        (("spec", "maxReplicaCount"), 0),
        (("spec", "minReplicaCount"), 6),
        (("spec", "fallback", "behavior"), "higher"),
        (("spec", "scaleTargetRef", "name"), ""),
        (("spec", "triggers"), []),
        ((*TRIGGER, "metadata", "targetValue"), 5),
        ((*TRIGGER, "metadata", "threshold"), "5"),
        ((*TRIGGER, "metricType"), "Utilization"),
        (("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown", "selectPolicy"), "Most"),
    ],
    ids=str,
)
def test_what_keda_refuses(path: tuple[Any, ...], value: Any) -> None:
    bad = copy.deepcopy(scaled())
    place = bad
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert mistakes(bad)
