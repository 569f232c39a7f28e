"""What an autoscaler does with a role's pods, played."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.kubernetes.autoscaler import Autoscaler, Scaling, scaling_of
from fleet.kubernetes.keda import Keda
from fleet.kubernetes.simulation import START_SECONDS, Trace, play, traces
from tests.unit.fleet.kubernetes.kubernetes_support import WEB, cluster_of, of_kind

SLOTS, PODS, SERVICE = 10, 12, 5.0
TRACES = traces(SLOTS, PODS, SERVICE)


def scaling(least: int = 1) -> Scaling:
    """What our own manifest asks for."""
    scale = {"min": least, "max": PODS}
    cluster = cluster_of({"web": {**WEB, "concurrency": SLOTS, "kubernetes": {"scale": scale}}}, 37)
    return scaling_of(of_kind(cluster, "HorizontalPodAutoscaler", "web"))


def test_a_burst() -> None:
    played = play(TRACES["burst"], Autoscaler(scaling()), SLOTS, 1)
    assert max(number for _, number in played.pods) == PODS
    assert played.wait(0.95) < 120, "pods come within some syncs"
    assert played.turns <= 3, "once up and once down, and the beginning and the end"
    assert played.pods[-1][1] <= 2, "given back"


@pytest.mark.long
def test_a_wave() -> None:
    played = play(TRACES["wave"], Autoscaler(scaling()), SLOTS, 1)
    assert played.wait(0.95) < 5
    fixed = PODS * TRACES["wave"].seconds
    assert played.pod_seconds < 0.75 * fixed, "less than as many pods all day"


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.long) if name == "wave" else name for name in TRACES])
def test_idle_pods_go_first(name: str) -> None:
    by_cost = play(TRACES[name], Autoscaler(scaling()), SLOTS, 1)
    by_age = play(TRACES[name], Autoscaler(scaling()), SLOTS, 1, by_cost=False)
    assert by_cost.needless == 0
    assert by_age.busy >= by_cost.busy
    assert name != "slow-drain" or by_age.needless > 0, "the comparison can fail"


def test_a_list_s_length_is_blind_to_what_runs() -> None:
    """What everybody else scales by: tasks that wait, and not those that run."""

    class Blind:
        def __init__(self) -> None:
            self.inner = Autoscaler(scaling())

        def sync(self, now: float, metric: float | None, replicas: int, ready: int | None = None) -> int:
            waiting = max(0.0, (metric or 0) - SLOTS * (ready or 0))
            return self.inner.sync(now, waiting, replicas, ready)

    long = Trace(lambda at: 0.15, 7200, 600, 0.15)
    blind, ours = (play(long, scaler, SLOTS, 1) for scaler in (Blind(), Autoscaler(scaling())))
    assert ours.wait(0.95) < 10
    assert blind.wait(0.95) > 100, "it takes away slots that the next task needs"


@pytest.mark.parametrize("by", ["hpa", "keda"])
def test_the_first_task_after_none(by: str) -> None:
    scaler: Any = Autoscaler(scaling(0)) if by == "hpa" else Keda(scaling(0), cooldown=300)
    played = play(Trace(lambda at: 0.05 if at > 600 else 0.0, 3600, SERVICE, 0.05), scaler, SLOTS, 0)
    assert 0 < played.first <= 15 + START_SECONDS
    assert played.pods[-1][1] == 0


def test_keda_keeps_what_there_is_while_the_metric_is_lost() -> None:
    keda = Keda(scaling(0), cooldown=300)
    assert keda.sync(0, 40, 0) == 1
    assert keda.sync(15, 80, 1) > 1
    assert [keda.sync(at, None, 7) for at in (30, 400, 4000)] == [7, 7, 7]
    assert keda.sync(4015, 0, 7) == 0, "and then, long after the last task"


def test_keda_waits_for_its_cooldown() -> None:
    keda = Keda(scaling(0), cooldown=600)
    keda.sync(0, 5, 0)
    assert keda.sync(590, 0, 1) == 1
    assert keda.sync(605, 0, 1) == 0


def test_the_same_numbers_give_the_same_answer() -> None:
    first, second = (play(TRACES["burst"], Autoscaler(scaling()), SLOTS, 1) for _ in range(2))
    assert first == second
