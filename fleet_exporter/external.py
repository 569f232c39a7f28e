"""The external metrics API of Kubernetes (external.metrics.k8s.io/v1beta1), as far as an autoscaler asks. Pure.

What cannot be read is an error and never a zero: an autoscaler that gets an error keeps the pods that there are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from fleet_exporter.state import Role

GROUP_VERSION = "external.metrics.k8s.io/v1beta1"
ROOT = f"/apis/{GROUP_VERSION}"
METRICS: Mapping[str, Callable[[Role], float | None]] = {
    "fleet_role_tasks": lambda role: role.tasks,
    "fleet_role_age_ratio": lambda role: role.age_ratio,
}
_METRIC = re.compile(rf"{re.escape(ROOT)}/namespaces/([a-z0-9-]+)/([A-Za-z0-9_]+)")
_EQUAL = re.compile(r"role\s*==?\s*([^\s,()=]+)")
_IN = re.compile(r"role\s+in\s*\(([^()]*)\)")


class SelectorError(ValueError):
    """A selector that is not about roles alone."""


def respond(path: str, query: str, namespace: str, roles: Callable[[], Sequence[Role]], now: str) -> tuple[int, Any]:
    """(status, body) of a GET.

    namespace: of the fleet. A cluster asks one exporter for all namespaces, and another fleet may have roles of the same names.
    roles: reads them; raises OSError if the broker does not answer. now: RFC 3339.
    """
    if path in (ROOT, f"{ROOT}/"):
        return 200, _resources()
    if not (match := _METRIC.fullmatch(path)):
        return 404, _status(404, "NotFound", f"there is nothing at {path}")
    asked, name = match.groups()
    if asked != namespace:
        return 404, _status(404, "NotFound", f"this is the exporter of the namespace {namespace}: it knows nothing of {asked}")
    if name not in METRICS:
        return 404, _status(404, "NotFound", f"no metric {name}: there are {', '.join(METRICS)}")
    try:
        wanted = selected((parse_qs(query).get("labelSelector") or [""])[0])
        known = {role.name: METRICS[name](role) for role in roles()}
    except SelectorError as error:
        return 400, _status(400, "BadRequest", str(error))
    except OSError as error:
        return 503, _status(503, "ServiceUnavailable", f"the broker does not answer: {error}")
    except Exception as error:  # what a broker has written may be anything; the autoscaler shows the answer
        return 500, _status(500, "InternalError", repr(error))
    values = {role: known.get(role) for role in (wanted if wanted is not None else known)}
    if missing := [role for role, value in values.items() if value is None or not math.isfinite(value)]:
        return 404, _status(404, "NotFound", f"{name} of {', '.join(missing)} is not known")
    return 200, {
        "kind": "ExternalMetricValueList",
        "apiVersion": GROUP_VERSION,
        "metadata": {},
        "items": [
            {"metricName": name, "metricLabels": {"role": role}, "timestamp": now, "value": f"{round(1000 * value)}m"}
            for role, value in values.items()
            if value is not None
        ],
    }


def selected(selector: str) -> list[str] | None:
    """The roles that a label selector names; None for all of them. Raises SelectorError."""
    text = selector.strip()
    if not text:
        return None
    if match := _EQUAL.fullmatch(text):
        return [match[1]]
    if match := _IN.fullmatch(text):
        return [name.strip() for name in match[1].split(",") if name.strip()]
    raise SelectorError(f"labelSelector {selector!r}: write role=NAME")


def _resources() -> Any:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": GROUP_VERSION,
        "resources": [
            {"name": name, "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
            for name in METRICS
        ],
    }


def _status(code: int, reason: str, message: str) -> Any:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
