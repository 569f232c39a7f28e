"""A role's unit and its pod say the same, setting by setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fleet.kubernetes.cluster import Cluster, on_kubernetes
from fleet.kubernetes.deployment import deployment, disruption_budget
from fleet.kubernetes.explain import ROWS
from fleet.kubernetes.pod import template
from fleet.plan.plan import Plan
from fleet.spec.worker import Worker
from tests.unit.fleet.kubernetes.kubernetes_support import BATCH, GPU, HIDDEN, IMAGE, MACHINE, WEB, unit_of
from tests.unit.fleet_support import fleet_of, plan_of
from tests.unit.process_support import ROOT

MB = 1 << 20
BASES: dict[str, dict[str, Any]] = {"web": WEB, "batch": BATCH, "gpu": GPU}
ONLY_IN_UNITS = {"CUDA_VISIBLE_DEVICES", "FLEET_GPU", "FLEET_GPU_STATE"}
"""Of devices, which a pod gets by its limit."""
ONLY_IN_PODS = {"FLEET_POD", "RUNTIME_DIRECTORY"}
ELSEWHERE = {"FLEET_RELEASE", "FLEET_REVISION", "PYTHONPATH", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"}
"""Of a release's place, and of a broker's address: other values, of the same names."""


def sides(role: str, settings: dict[str, Any]) -> tuple[Plan, Cluster]:
    """The fleet on machines, and on Kubernetes."""
    fleet_wide = {key: settings.pop(key) for key in [*settings] if key in ("slo",)}
    plan = plan_of(fleet_of({role: settings}, **fleet_wide), MACHINE)
    return plan, Cluster(on_kubernetes(plan), HIDDEN, IMAGE, 37)


def differences(role: str, settings: dict[str, Any]) -> list[str]:
    """What the unit and the pod do not agree in."""
    plan, cluster = sides(role, settings)
    unit, environment = unit_of(plan, role)
    pod = template(cluster, role)["spec"]
    (container,) = pod["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    hidden = {each["name"] for each in container["env"] if "secretKeyRef" in each.get("valueFrom", {})}
    limits = container["resources"]["limits"]
    argv = unit["ExecStart"][0].split()
    liveness, startup = container.get("livenessProbe"), container["startupProbe"]
    drain = unit["ExecStop"][0].split()[-1]
    pairs: dict[str, tuple[Any, Any]] = {
        "argv": (argv[1:], [word.replace("$(FLEET_POD)", "%H") for word in container["args"][1:]]),
        "program": (argv[0].rpartition("/")[2], container["args"][0].rpartition("/")[2]),
        "names of variables": (
            set(environment) - ONLY_IN_UNITS,
            (set(env) | {"FLEET_RELEASE", "FLEET_REVISION"}) - ONLY_IN_PODS,
        ),
        "values of variables": (
            {name: value for name, value in environment.items() if name not in ELSEWHERE | ONLY_IN_UNITS | hidden},
            {name: value for name, value in env.items() if name not in ELSEWHERE | ONLY_IN_PODS | hidden},
        ),
        "memory": (int(unit["MemoryMax"][0]) // MB, int(limits["memory"].removesuffix("Mi"))),
        "drain": (drain, container["lifecycle"]["preStop"]["exec"]["command"][-1].rpartition(" ")[2]),
        "longest stop": (environment["FLEET_LONGEST_STOP"], str(pod["terminationGracePeriodSeconds"])),
        "at least the time to stop": (True, int(unit["TimeoutStopSec"][0]) <= pod["terminationGracePeriodSeconds"]),
        "start": (int(unit["TimeoutStartSec"][0]), startup["periodSeconds"] * startup["failureThreshold"]),
        "watchdog": (
            unit.get("WatchdogSec", [None])[0],
            liveness and re.search(r"-(\d+) seconds", liveness["exec"]["command"][-1])[1],  # type: ignore[index]
        ),
        "abort": (
            unit.get("TimeoutAbortSec", [None])[0],
            liveness and str(liveness["terminationGracePeriodSeconds"]),
        ),
        "quota": (
            int(unit["CPUQuota"][0].removesuffix("%")) * 10 if "CPUQuota" in unit else None,
            int(limits["cpu"].removesuffix("m")) if "cpu" in limits else None,
        ),
        "devices": (any("nvidia" in node for node in unit.get("DeviceAllow", ())), "nvidia.com/gpu" in limits),
        "users": ("PrivateUsers" in unit, pod.get("hostUsers") is False),
        "read-only": (unit["ProtectSystem"], ["strict"] if container["securityContext"]["readOnlyRootFilesystem"] else []),
        "privileges": (unit["NoNewPrivileges"], ["no" if container["securityContext"]["allowPrivilegeEscalation"] else "yes"]),
        "capabilities": (
            unit["CapabilityBoundingSet"],
            [""] if container["securityContext"]["capabilities"]["drop"] == ["ALL"] else [],
        ),
        "writable": (
            {*unit["ReadWritePaths"], "/tmp", "/run/fleet"},
            {each["mountPath"] for each in container["volumeMounts"]},
        ),
        "folder": (unit["WorkingDirectory"][0], container["workingDir"]),
    }
    return [f"{name}: {ours} and {theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]


@pytest.mark.parametrize("role", BASES)
def test_unit_and_pod_agree(role: str) -> None:
    assert differences(role, dict(BASES[role])) == []


def test_what_is_compared_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.plan.process.START_SECONDS", 60)
    monkeypatch.setattr("roles.worker.process.ABORT_SECONDS", 20)
    assert differences("web", dict(WEB)) == []
    monkeypatch.setattr("fleet.kubernetes.pod.HOME", "/elsewhere")
    assert [line.partition(":")[0] for line in differences("web", dict(WEB))] == ["values of variables", "writable", "folder"]


BOTH, DEPLOYMENT, UNIT, POD = "both", "deployment", "unit", "pod"
# Setting → (base, value, where it shows). A setting that is new has to be put here: decide what it is on Kubernetes.
MUTATIONS: dict[str, tuple[dict[str, Any], Any, str]] = {
    "queues": (BATCH, ["batch", "more"], BOTH),
    "workload": (BATCH, "io", BOTH),
    "pool": (BATCH, "threads", BOTH),
    "concurrency": (BATCH, 3, BOTH),
    "instances": (BATCH, 2, BOTH),  # of the memory that each gets
    "prefetch": (BATCH, 4, BOTH),
    "max_tasks_per_child": (BATCH, 77, BOTH),
    "autoscale_min": (BATCH, 1, BOTH),
    "max_memory_per_child": (BATCH, "300M", BOTH),
    "memory_per_slot": (BATCH, "200M", POD),  # the limit is the machine's; a pod's request follows the need
    "start_method": (BATCH, "spawn", BOTH),
    "soft_time_limit": (BATCH, 55, BOTH),
    "time_limit": (BATCH, 77, BOTH),
    "stop_timeout": (BATCH, 900, BOTH),
    "drain_timeout": (BATCH, 33, BOTH),
    "stall_timeout": (BATCH, 999, BOTH),
    "max_deliveries": (BATCH, 7, BOTH),
    "longest_eta": (BATCH, 7200, BOTH),
    "retry_delay": (BATCH, 7200, BOTH),
    "memory_high": (BATCH, "1G", UNIT),  # explained: MemoryHigh
    "memory_max": (BATCH, "2G", BOTH),
    "cpu_weight": (BATCH, 50, UNIT),  # explained: CPUWeight
    "cpu_quota": (BATCH, "150%", BOTH),
    "min_consumers": (BATCH, 0, DEPLOYMENT),
    "settle": (BATCH, 17, DEPLOYMENT),
    "canary_settle": (BATCH, 17, ""),
    "canary": (BATCH, False, ""),
    "max_unavailable": (BATCH, "50%", DEPLOYMENT),
    "database_connections": (BATCH, 3, ""),
    "log_level": (BATCH, "DEBUG", BOTH),
    "log_format": (BATCH, "json", BOTH),
    "environment": (BATCH, {"SHOP": "1"}, BOTH),
    "secrets": (BATCH, ["API_KEY"], BOTH),
    "kubernetes": (BATCH, {"priority_class": "high"}, POD),
}


def test_every_setting_has_been_thought_of() -> None:
    assert MUTATIONS.keys() == Worker.model_fields.keys()


@pytest.mark.parametrize("setting", MUTATIONS)
def test_a_changed_setting_changes_both(setting: str) -> None:
    base, value, where = MUTATIONS[setting]
    more: dict[str, Any] = {"lease": None} if setting in ("longest_eta", "retry_delay") else {}

    def look(settings: dict[str, Any]) -> tuple[Any, Any, Any]:
        plan = plan_of(fleet_of({"batch": settings}, **more), MACHINE)
        cluster = Cluster(on_kubernetes(plan), HIDDEN, IMAGE, 37)
        unit, environment = unit_of(plan, "batch")
        for name in ("FLEET_REVISION",):
            environment.pop(name)
        unit = {name: value for name, value in unit.items() if name != "Environment"}
        whole = {**deployment(cluster, "batch"), "budget": disruption_budget(cluster, "batch")["spec"]}
        whole["spec"] = {name: value for name, value in whole["spec"].items() if name not in ("template", "replicas")}
        return (unit, environment), template(cluster, "batch"), whole

    before, after = look(base), look({**base, setting: value})
    changed = tuple(old != new for old, new in zip(before, after, strict=True))
    assert changed[:2] == (where in (BOTH, UNIT), where in (BOTH, POD)), setting
    assert where != DEPLOYMENT or changed[2]
    if where == BOTH:
        assert differences("batch", {**base, setting: value}) == []


def test_every_line_of_a_unit_is_explained() -> None:
    text = Path(ROOT / "templates/etc/systemd/system/celery-worker@.service.j2").read_text()
    lines = (line for line in text.splitlines() if "=" in line and line[0] not in "#[{")
    directives = {line.partition("=")[0] for line in lines}
    explained = [name for row in ROWS for name in row.directives]
    assert directives == set(explained)
    assert len(explained) == len(set(explained))
