"""The autoscaler's decisions are those of the real controller."""

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.kubernetes.autoscaler import Autoscaler, scaling_of

RECORDED = json.loads((Path(__file__).parent / "data" / "hpa-1.36.2.json").read_text())["cases"]
SYNCS = "syncs [seconds, metric (null: error), replicas before, after]"


def manifest(case: dict[str, Any]) -> dict[str, Any]:
    """The autoscaler of a recorded case."""
    value = {"type": case["kind"], "averageValue" if case["kind"] == "AverageValue" else "value": str(case["target"])}
    behavior = {"behavior": case["behavior"]} if case["behavior"] else {}
    return {
        "spec": {
            "minReplicas": case["min"],
            "maxReplicas": case["max"],
            "metrics": [{"external": {"target": value}}],
            **behavior,
        }
    }


@pytest.mark.parametrize("name", RECORDED)
def test_each_sync_of_a_recording(name: str) -> None:
    case = RECORDED[name]
    autoscaler = Autoscaler(scaling_of(manifest(case)))
    wrong = []
    for now, metric, before, after in case[SYNCS]:
        decided = autoscaler.sync(now, metric, before)
        if decided != after:
            wrong.append((now, metric, before, after, decided))
    assert wrong == []


def test_all_of_them() -> None:
    assert sum(len(case[SYNCS]) for case in RECORDED.values()) == 985
