"""What an API server refuses and the published schemas let pass. Pure: objects → mistakes, each a line.

Found by a real kube-apiserver 1.36.2, which refused each of them after `kubernetes-validate --strict` had found nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fleet.kubernetes.cluster import ZERO_BY_HPA
from fleet.kubernetes.pod import Object

_DECIMAL = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_SUFFIXES: dict[str, float] = {**_DECIMAL, **{f"{prefix}i": 1024**power for power, prefix in enumerate("KMGTPE", 1)}}
LONGEST_WINDOW, LONGEST_PERIOD = 3600, 1800
"""Seconds, of an autoscaler's stabilisation and of a policy."""


def mistakes(objects: Iterable[Object], minor: int) -> list[str]:
    """All that is wrong with some objects, on Kubernetes 1.`minor`."""
    found = []
    for each in objects:
        where = f"{each.get('kind')}/{each.get('metadata', {}).get('name')}"
        for check in CHECKS.get(each.get("kind", ""), ()):
            found += [f"{where}: {mistake}" for mistake in check(each, minor)]
    return found


def quantity(value: object) -> float:
    """A quantity, such as 500m, 1.5Gi or 1e9, as a number. Raises ValueError."""
    match = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?)([numkMGTPE]|[KMGTPE]i)?", str(value), re.ASCII)
    if not match:
        raise ValueError(f"{value!r} is no quantity")
    return float(match[1]) * _SUFFIXES[match[2] or ""]


def selector(each: Object, _: int) -> Iterator[str]:
    """A Deployment's selector finds its own pods."""
    wanted = each["spec"]["selector"].get("matchLabels", {})
    has = each["spec"]["template"]["metadata"].get("labels", {})
    for name, value in wanted.items():
        if has.get(name) != value:
            yield f"the selector asks for {name}={value}, and the template has {has.get(name)}"


def resources(each: Object, _: int) -> Iterator[str]:
    """No request is over its limit, and devices have one."""
    for container in _containers(each):
        requests, limits = (container.get("resources", {}).get(part, {}) for part in ("requests", "limits"))
        for name, request in requests.items():
            if name in limits and quantity(request) > quantity(limits[name]):
                yield f"requests {name} {request}, and the limit is {limits[name]}"
            if "/" in name and limits.get(name) != request:
                yield f"requests {name} {request}: a device needs the same limit"


def hooks(each: Object, _: int) -> Iterator[str]:
    """A hook does something."""
    for container in _containers(each):
        for name, handler in container.get("lifecycle", {}).items():
            if not handler:
                yield f"{name} has no handler"


def periods(each: Object, _: int) -> Iterator[str]:
    """No time is negative. (A negative terminationGracePeriodSeconds of a pod is no error to a server, which makes it 1.)"""
    spec = each["spec"]
    times = {name: spec[name] for name in ("minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit") if name in spec}
    pod = spec["template"]["spec"]
    times |= {"terminationGracePeriodSeconds": pod.get("terminationGracePeriodSeconds", 0)}
    for container in _containers(each):
        for probe in PROBES:
            for name, value in container.get(probe, {}).items():
                if isinstance(value, int):
                    times[f"{probe}.{name}"] = value
    for name, value in times.items():
        if value < 0:
            yield f"{name} is {value}"
    deadline, ready = spec.get("progressDeadlineSeconds", 600), spec.get("minReadySeconds", 0)
    if deadline <= ready:
        yield f"progressDeadlineSeconds {deadline} is not more than minReadySeconds {ready}"


def successes(each: Object, _: int) -> Iterator[str]:
    """A worker that is started, or alive, is so at its first success."""
    for container in _containers(each):
        for probe in ("startupProbe", "livenessProbe"):
            if container.get(probe, {}).get("successThreshold", 1) != 1:
                yield f"{probe}.successThreshold is not 1"


def surge(each: Object, _: int) -> Iterator[str]:
    """A rollout can move."""
    rolling = each["spec"].get("strategy", {}).get("rollingUpdate", {})
    if all(str(rolling.get(name, "25%")).rstrip("%") == "0" for name in ("maxUnavailable", "maxSurge")):
        yield "maxUnavailable and maxSurge are both 0"


def least(each: Object, minor: int) -> Iterator[str]:
    """An autoscaler reaches zero where Kubernetes lets it."""
    spec = each["spec"]
    lowest, highest = spec.get("minReplicas", 1), spec["maxReplicas"]
    if lowest < 0 or highest < 1 or highest < lowest:
        yield f"minReplicas {lowest}, maxReplicas {highest}"
    if lowest == 0 and minor < ZERO_BY_HPA:
        yield f"minReplicas 0 needs 1.{ZERO_BY_HPA}"
    if not spec.get("metrics"):
        yield "no metric"


def targets(each: Object, _: int) -> Iterator[str]:
    """A target is above zero."""
    for metric in each["spec"].get("metrics", ()):
        for place in metric.values():
            target = place.get("target", {}) if isinstance(place, dict) else {}
            for name in ("averageValue", "value"):
                if name in target and quantity(target[name]) <= 0:
                    yield f"{name} is {target[name]}"


def behavior(each: Object, _: int) -> Iterator[str]:
    """Windows and policies are within what the controller takes."""
    for direction, rules in each["spec"].get("behavior", {}).items():
        window = rules.get("stabilizationWindowSeconds", 0)
        if not 0 <= window <= LONGEST_WINDOW:
            yield f"{direction}.stabilizationWindowSeconds is {window}: 0 to {LONGEST_WINDOW}"
        if "policies" in rules and not rules["policies"]:
            yield f"{direction}.policies is empty"
        for policy in rules.get("policies", ()):
            if policy["value"] <= 0:
                yield f"{direction}: a policy's value is {policy['value']}"
            if not 0 < policy["periodSeconds"] <= LONGEST_PERIOD:
                yield f"{direction}: a policy's period is {policy['periodSeconds']}: 1 to {LONGEST_PERIOD}"


def budget(each: Object, _: int) -> Iterator[str]:
    """A budget says one thing."""
    both = [name for name in ("minAvailable", "maxUnavailable") if name in each["spec"]]
    if len(both) != 1:
        yield f"{' and '.join(both) or 'neither minAvailable nor maxUnavailable'}: a budget has one of the two"


PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_OF_PODS: tuple[Callable[[Object, int], Iterator[str]], ...] = (selector, resources, hooks, periods, successes)
CHECKS: dict[str, tuple[Callable[[Object, int], Iterator[str]], ...]] = {
    "Deployment": (*_OF_PODS, surge),
    "StatefulSet": _OF_PODS,
    "HorizontalPodAutoscaler": (least, targets, behavior),
    "PodDisruptionBudget": (budget,),
}
"""Kind → what is checked."""


def _containers(each: Object) -> list[Any]:
    pod = each["spec"]["template"]["spec"]
    return [*pod.get("initContainers", ()), *pod["containers"]]
