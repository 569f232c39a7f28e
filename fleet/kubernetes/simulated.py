"""`fleet k8s --simulate`: what is played, in words, as plain values and as a chart. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from fleet.capacity.chart import round_up
from fleet.capacity.drawing import Line, Panel, svg
from fleet.errors import FleetError
from fleet.kubernetes import scaling
from fleet.kubernetes.autoscaler import Autoscaler, Scaling, scaling_of
from fleet.kubernetes.cluster import Cluster
from fleet.kubernetes.keda import Keda
from fleet.kubernetes.simulation import Played, Scaler, Trace, play, traces
from fleet.spec.pod import Scale
from fleet.spec.text import did_you_mean

MOST_TASKS = 2_000_000
"""That are played: some ten seconds."""


def scale_of(cluster: Cluster, role: str) -> Scale:
    """A role's scaling. Raises FleetError if there is none."""
    if role not in cluster.roles:
        raise FleetError(f"no role {role}{did_you_mean(role, cluster.roles)}")
    scale = cluster.scales.get(role)
    if scale is None:
        raise FleetError(f'{role}_worker.kubernetes.scale: there is none to play; write {{"min": 1, "max": 10}}')
    return scale


def trace_of(text: str | None, name: str, slots: int, pods: int, service: float) -> Trace:
    """A load by its name, or of a file's text: lines of SECOND TASKS-A-SECOND, each rate until the next. Raises FleetError."""
    if text is None:
        known = traces(slots, pods, service)
        if name not in known:
            raise FleetError(f"--simulate {name}: no such file, and no load of that name; there are {', '.join(known)}")
        trace = known[name]
        if sum(map(trace.rate, range(int(trace.seconds)))) > MOST_TASKS:
            raise FleetError(f"{name}: at most {MOST_TASKS:,} tasks are played; give longer --task-seconds, or a smaller max")
        return trace
    steps = [_step(line, number, name) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    if len(steps) < 2 or [at for at, _ in steps] != sorted({at for at, _ in steps}):
        raise FleetError(f"{name}: write at least two lines of SECOND TASKS-A-SECOND, the seconds in their order")
    seconds = [at for at, _ in steps]
    most = max(rate for _, rate in steps)
    if not 0 < most * (seconds[-1] - seconds[0]) <= MOST_TASKS:
        raise FleetError(
            f"{name}: {most:g} tasks a second for {seconds[-1]:g} s: at most {MOST_TASKS:,} tasks are played, and one at least"
        )
    return Trace(lambda at: steps[max(0, bisect_right(seconds, at) - 1)][1], seconds[-1], service, most)


def played(cluster: Cluster, role: str, trace: Trace) -> dict[str, Played]:
    """What becomes of a load: by the role's own scaling, and, to compare with, if the youngest pod went first."""
    scale, slots = scale_of(cluster, role), cluster.roles[role].sized.concurrency

    def scaler() -> Scaler:
        manifest = scaling.autoscaler(cluster, role)
        if scale.by == "hpa":
            return Autoscaler(scaling_of(manifest))
        rules = manifest["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        target = {"type": "AverageValue", "averageValue": str(scaling.demand_per_pod(cluster, role, scale))}
        spec = {
            "minReplicas": scale.min,
            "maxReplicas": scale.max,
            "metrics": [{"external": {"target": target}}],
            "behavior": rules,
        }
        own: Scaling = scaling_of({"spec": spec})
        return Keda(own, manifest["spec"]["cooldownPeriod"])

    return {
        "idle pods first": play(trace, scaler(), slots, scale.min),
        "the youngest first": play(trace, scaler(), slots, scale.min, by_cost=False),
    }


def lines(result: Mapping[str, Played], most: int) -> list[list[str]]:
    """The table's rows."""
    return [
        [
            name,
            f"{each.wait(0.95):.1f} s",
            f"{max(each.waits, default=0):.1f} s",
            f"{max(number for _, number in each.pods)} of {most}",
            f"{each.pod_seconds / 3600:.1f}",
            str(each.turns),
            str(each.busy),
            str(each.needless),
            f"{each.first:.0f} s" if each.first else "-",
        ]
        for name, each in result.items()
    ]


HEAD = ("REMOVES", "95% WAIT", "LONGEST", "PODS", "HOURS", "TURNS", "BUSY", "NEEDLESS", "FIRST")
"""HOURS: of pods. TURNS: from more to fewer, or back. BUSY: pods that were removed while they ran a task; NEEDLESS: although an
idle one stayed. FIRST: how long a task waited that found no pod."""


def as_json(result: Mapping[str, Played]) -> dict[str, Any]:
    """The same as plain values."""
    return {
        name: {
            "tasks": len(each.waits),
            "waits": {"0.5": each.wait(0.5), "0.95": each.wait(0.95), "1": max(each.waits, default=0.0)},
            "pods": each.pods,
            "pod_seconds": each.pod_seconds,
            "turns": each.turns,
            "busy_removed": each.busy,
            "busy_removed_needlessly": each.needless,
            "first_wait_without_a_pod": each.first,
        }
        for name, each in result.items()
    }


def chart(role: str, trace: Trace, result: Played, slots: int, most: int) -> str:
    """Pods, and the slots that the load keeps busy, as an SVG."""
    end = result.pods[-1][0]
    top = round_up(float(most))
    stairs: list[tuple[float, float]] = []
    before = result.pods[0][1]
    for at, number in result.pods:
        stairs += [(at / end, before / top), (at / end, number / top)]
        before = number
    samples = [end * step / 200 for step in range(201)]
    needed = [(at / end, (trace.rate(at) * trace.service / slots if at <= trace.seconds else 0.0) / top) for at in samples]
    return svg(
        f"Pods of {role} as its load changes",
        [
            Panel(
                title=f"Pods of {role}",
                across="minutes",
                x_ticks=[(step / 4, f"{end * step / 240:.0f}") for step in range(5)],
                y_ticks=_ticks(top),
                lines=[Line("there are", stairs, True), Line("busy", needed)],
                limit=(most / top, f"max {most}"),
            )
        ],
    )


def _ticks(top: float) -> Sequence[tuple[float, str]]:
    return [(step / 4, f"{top * step / 4:g}") for step in range(5)]


def _step(line: str, number: int, name: str) -> tuple[float, float]:
    try:
        second, rate = (float(word) for word in line.replace(",", " ").split())
        if second < 0 or rate < 0:
            raise ValueError
    except ValueError:
        raise FleetError(f"{name}, line {number}: write SECOND TASKS-A-SECOND, such as 60 12.5") from None
    return second, rate
