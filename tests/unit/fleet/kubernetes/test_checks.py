"""What a server refuses and the schemas let pass: each with a case that passes and one that does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fleet.kubernetes import checks
from tests.unit.fleet.kubernetes.kubernetes_support import GPU, WEB, cluster_of, of_kind

ROLES: dict[str, Any] = {"web": {**WEB, "kubernetes": {"scale": {"min": 1, "max": 9}}}, "gpu": GPU}
CONTAINER = ("spec", "template", "spec", "containers", 0)
METRIC = ("spec", "metrics", 0, "external", "target", "averageValue")
CASES: list[tuple[str, str, tuple[Any, ...], Any, str]] = [
    ("Deployment", "web", ("spec", "selector", "matchLabels", "app.kubernetes.io/name"), "other", "the selector asks for"),
    ("Deployment", "web", (*CONTAINER, "resources", "requests", "memory"), "999Gi", "requests memory 999Gi, and the limit is"),
    ("Deployment", "gpu", (*CONTAINER, "resources", "limits", "nvidia.com/gpu"), None, "a device needs the same limit"),
    ("Deployment", "web", (*CONTAINER, "lifecycle", "preStop"), {}, "preStop has no handler"),
    ("Deployment", "web", ("spec", "minReadySeconds"), -1, "minReadySeconds is -1"),
    ("Deployment", "web", (*CONTAINER, "livenessProbe", "periodSeconds"), -5, "livenessProbe.periodSeconds is -5"),
    ("Deployment", "web", ("spec", "progressDeadlineSeconds"), 1, "is not more than minReadySeconds"),
    ("Deployment", "web", (*CONTAINER, "livenessProbe", "successThreshold"), 2, "livenessProbe.successThreshold is not 1"),
    ("Deployment", "web", (*CONTAINER, "startupProbe", "successThreshold"), 2, "startupProbe.successThreshold is not 1"),
    ("Deployment", "web", ("spec", "strategy", "rollingUpdate", "maxSurge"), 0, "are both 0"),
    ("HorizontalPodAutoscaler", "web", ("spec", "minReplicas"), 0, "minReplicas 0 needs 1.37"),
    ("HorizontalPodAutoscaler", "web", ("spec", "minReplicas"), 10, "minReplicas 10, maxReplicas 9"),
    ("HorizontalPodAutoscaler", "web", ("spec", "metrics"), [], "no metric"),
    ("HorizontalPodAutoscaler", "web", METRIC, "0", "averageValue is 0"),
    (
        "HorizontalPodAutoscaler",
        "web",
        ("spec", "behavior", "scaleDown", "stabilizationWindowSeconds"),
        3601,
        "scaleDown.stabilizationWindowSeconds is 3601",
    ),
    ("HorizontalPodAutoscaler", "web", ("spec", "behavior", "scaleUp", "policies", 0, "value"), 0, "a policy's value is 0"),
    (
        "HorizontalPodAutoscaler",
        "web",
        ("spec", "behavior", "scaleUp", "policies", 0, "periodSeconds"),
        1801,
        "a policy's period is 1801",
    ),
    ("HorizontalPodAutoscaler", "web", ("spec", "behavior", "scaleUp", "policies"), [], "scaleUp.policies is empty"),
    ("PodDisruptionBudget", "web", ("spec", "minAvailable"), 1, "minAvailable and maxUnavailable: a budget has one"),
    ("PodDisruptionBudget", "web", ("spec", "maxUnavailable"), None, "neither minAvailable nor maxUnavailable"),
]


@pytest.mark.parametrize(("kind", "role", "path", "value", "complaint"), CASES, ids=[case[4] for case in CASES])
def test_what_a_server_refuses(kind: str, role: str, path: tuple[Any, ...], value: Any, complaint: str) -> None:
    good = of_kind(cluster_of(ROLES), kind, role)
    assert checks.mistakes([good], 36) == []
    bad = copy.deepcopy(good)
    place = bad
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    (mistake,) = checks.mistakes([bad], 36)
    assert mistake.startswith(f"{kind}/celery-{role}: ")
    assert complaint in mistake


QUANTITIES: dict[object, float] = {
    **{"500m": 0.5, "2": 2, 3: 3, "1Gi": 2**30, "1.5k": 1500, "0": 0, "1e9": 1e9, "1E": 1e18, "2E3": 2000},
    **{"1Pi": 2**50, "1Ei": 2**60, "250u": 0.00025, "1n": 1e-9, ".5": 0.5, "1.": 1, "+3P": 3e15, "-1": -1},
}


@pytest.mark.parametrize(("text", "number"), QUANTITIES.items())
def test_quantities(text: object, number: float) -> None:
    assert checks.quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["much", "", None, "1KB", "1ki", "٣", "1 Gi", "1e", "nan", ".", "1e999"])
def test_no_quantity(text: object) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        checks.quantity(text)
