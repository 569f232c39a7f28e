"""Beat in a cluster: one pod, whose successor waits for its lock in the broker. Pure."""

from __future__ import annotations

from fleet.kubernetes.cluster import Cluster
from fleet.kubernetes.network import broker_egress
from fleet.kubernetes.pod import (
    APP,
    CONFINED,
    IMAGE,
    NODE_HOST,
    PART_OF,
    RUNTIME,
    Object,
    certificate_mounts,
    certificate_volumes,
    confined,
    liveness,
    mebibytes,
    run,
    startup,
    variables,
)
from fleet.plan import process
from fleet.spec.fleet import Host
from fleet.state.paths import HOME

NAME = "celery-beat"
LABELS = {"app.kubernetes.io/name": NAME}
FOLDER = f"{HOME}/beat"
CPU = "100m"
SCHEDULE = "100Mi"
"""What a volume for the schedule's file has, where the broker has no lock and no record of runs."""


def host_of(cluster: Cluster) -> Host | None:
    """The first machine of the group beat; None without one."""
    fleet = cluster.plan.fleet
    return fleet.hosts[fleet.beat_hosts[0]] if fleet.beat_hosts else None


def environment(cluster: Cluster) -> dict[str, str]:
    """What beat has on a machine. It holds secrets."""
    host = host_of(cluster)
    return process.beat_environment(cluster.plan, host, cluster.secrets) if host else {}


def objects(cluster: Cluster) -> list[Object]:
    """Nothing, if the fleet has no beat."""
    host = host_of(cluster)
    if host is None:
        return []
    has_lock = cluster.plan.fleet.transport == "redis"
    volume: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(),
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": SCHEDULE}}},
    }
    return [_deployment(cluster, host, has_lock), _policy(cluster), *([] if has_lock else [volume])]


def _deployment(cluster: Cluster, host: Host, has_lock: bool) -> Object:
    beat = cluster.plan.fleet.beat
    memory = mebibytes(beat.memory_max)
    arguments = process.beat_arguments(beat, host.settings.celery_app, f"{FOLDER}/schedule", NODE_HOST)
    fixed = {"SPT_NOENV": "1", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    if beat.log_format != "app":
        fixed["FLEET_LOG"] = beat.log_format
    container: Object = {
        "name": "beat",
        "image": IMAGE,
        "workingDir": FOLDER,
        **run([f"{APP}/venv/bin/python", "-m", "fleet_node.beat", *arguments]),
        "env": variables(NAME, environment(cluster), beat.secrets, fixed),
        "resources": {"requests": {"cpu": CPU, "memory": memory}, "limits": {"memory": memory}},
        "startupProbe": startup(),
        "livenessProbe": liveness(process.BEAT_WATCHDOG),
        "securityContext": CONFINED,
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "state", "mountPath": FOLDER},
            {"name": "runtime", "mountPath": RUNTIME},
            *certificate_mounts(cluster),
        ],
    }
    state: Object = {"emptyDir": {}} if has_lock else {"persistentVolumeClaim": {"claimName": NAME}}
    # With a lock, the next is there before the one before gives it back; without, two would send everything twice.
    strategy: Object = (
        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}} if has_lock else {"type": "Recreate"}
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(),
        "spec": {
            "replicas": 1,
            "strategy": strategy,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": {**LABELS, **PART_OF}},
                "spec": {
                    "serviceAccountName": "celery-worker",
                    **confined(),
                    "terminationGracePeriodSeconds": process.BEAT_STOP,
                    "containers": [container],
                    "volumes": [
                        {"name": "tmp", "emptyDir": {}},
                        {"name": "state", **state},
                        {"name": "runtime", "emptyDir": {}},
                        *certificate_volumes(cluster),
                    ],
                },
            },
        },
    }


def _policy(cluster: Cluster) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(),
        "spec": {
            "podSelector": {"matchLabels": LABELS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": broker_egress(cluster, with_results=True),
        },
    }


def _metadata() -> Object:
    return {"name": NAME, "labels": {**LABELS, **PART_OF}}
