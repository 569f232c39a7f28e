"""A role's pod, made of what its unit is made of. Pure: plain values, as Kubernetes' API has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from fleet.kubernetes.cluster import Cluster
from fleet.plan import process
from fleet.plan.sizing import MB, SizedWorker
from fleet.spec.certificates import paths_of
from fleet.spec.endpoint import FOLDER as CERTIFICATES
from fleet.spec.worker import Worker
from fleet.state.paths import HOME
from fleet_node.protocol import ALIVE_FILE, CONSUMES_FILE, READY_FILE

Object = dict[str, Any]
"""A part of a manifest."""

USER = 10001
"""User and group of the image."""
APP = "/app"
"""The image's folder of a release: src, node and venv, as on a machine."""
RUNTIME = "/run/fleet"
"""A worker's RuntimeDirectory: what it tells its probes and its drain."""
READY, CONSUMES, ALIVE = (f"{RUNTIME}/{name}" for name in (READY_FILE, CONSUMES_FILE, ALIVE_FILE))
POD = "FLEET_POD"
"""The variable with the pod's name, by which a worker also knows that it is in one. Users cannot set it."""
NODE_HOST = f"$({POD})"
"""What the kubelet replaces in a command."""
CONTAINER = "worker"
IMAGE = "fleet-app"
"""In a base: an overlay has the name and the tag."""
PART_OF = {"app.kubernetes.io/part-of": "celery-fleet"}
CERTIFICATE_SECRET = "fleet-broker-files"  # noqa: S105 - a name
SECRET_NAMES = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
LONGEST_EVICTION = 600
"""Seconds that the cluster autoscaler waits for a pod that it removes, whatever its grace."""
PROBE_EVERY = 10
START_EVERY = 5


CONFINED: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
"""Of every container."""


def confined(user: int = USER) -> Object:
    """What the specification of every pod has: no token, no addresses of services in its environment, users of its own."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostUsers": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def labels(cluster: Cluster, role: str) -> dict[str, str]:
    """By which a role's pods are found. They never change: a Deployment's selector cannot."""
    return {"app.kubernetes.io/name": "celery-worker", "app.kubernetes.io/component": cluster.labels[role]}


def name(cluster: Cluster, role: str) -> str:
    """Of a role's Deployment, its Secret, and all else that there is once."""
    return f"celery-{cluster.labels[role]}"


def template(cluster: Cluster, role: str) -> Object:
    """The template of a role's pods."""
    instance = cluster.roles[role]
    worker, is_gpu = instance.worker, instance.worker.workload == "gpu"
    pod = worker.kubernetes
    spec = {
        "serviceAccountName": "celery-worker",
        # As PrivateUsers: a machine's unit of a GPU role has none either.
        **{name: value for name, value in confined().items() if not (is_gpu and name == "hostUsers")},
        # Cannot be extended while a worker makes progress, as systemd's can: the longest that a stop takes.
        "terminationGracePeriodSeconds": worker.longest_stop,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels(cluster, role)},
            }
        ],
        **({"nodeSelector": dict(pod.node_selector)} if pod.node_selector else {}),
        **({"priorityClassName": pod.priority_class} if pod.priority_class else {}),
        "containers": [container(cluster, role)],
        "volumes": [
            *({"name": each, "emptyDir": {}} for each in ("tmp", "state", "runtime")),
            *certificate_volumes(cluster),
        ],
    }
    long = worker.longest_stop > LONGEST_EVICTION
    annotations = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"} if long else {}
    return {
        "metadata": {"labels": {**labels(cluster, role), **PART_OF}, **({"annotations": annotations} if annotations else {})},
        "spec": spec,
    }


def container(cluster: Cluster, role: str) -> Object:
    """The worker."""
    instance = cluster.roles[role]
    sized, worker = instance.sized, instance.worker
    settings = cluster.host(role).settings
    # A hook's words are not expanded as a command's are.
    drain = f'exec {APP}/venv/bin/python -m fleet_node.drain "{process.node(role, 1, f"${POD}")}" {worker.drain_seconds}'
    program = [f"{APP}/venv/bin/celery", "-A", settings.celery_app, "worker"]
    made: Object = {
        "name": CONTAINER,
        "image": IMAGE,
        "workingDir": f"{HOME}/{role}",
        **run([*program, *process.arguments(role, sized, 1, NODE_HOST)]),
        "resources": resources(sized),
        # The first phase of a stop; SIGTERM, which the kubelet sends to the first process alone, is the second.
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", drain]}}},
        **probes(worker),
        "securityContext": CONFINED,
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "state", "mountPath": f"{HOME}/{role}"},
            {"name": "runtime", "mountPath": RUNTIME},
            *certificate_mounts(cluster),
        ],
    }
    made["env"] = environment(cluster, role)
    return made


def run(argv: Iterable[str]) -> Object:
    """A container's command and arguments. RUNTIME is the pod's, and outlives a container that is restarted: the probes of the
    next one must not read what the one before has left."""
    return {
        "command": ["sh", "-c", f'rm -f {READY} {CONSUMES} {ALIVE}; exec "$@"', "sh"],
        "args": [_literal(word).replace(_literal(NODE_HOST), NODE_HOST) for word in argv],
    }


def environment(cluster: Cluster, role: str) -> list[Object]:
    """A worker's variables: as on a machine, but for what a pod has otherwise. Release and revision are an overlay's."""
    worker = cluster.roles[role].worker
    known = process.environment(cluster.plan, cluster.host(role), role, cluster.secrets)
    fixed = process.fixed_environment(worker)
    if worker.workload == "gpu":
        fixed["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    return variables(name(cluster, role), known, worker.secrets, fixed)


def variables(secret: str, known: Mapping[str, str], secrets: Iterable[str], fixed: Mapping[str, str]) -> list[Object]:
    """The variables of a container. Values of secrets are named alone. known: as on a machine. secrets: their names. fixed: what
    else is set."""
    hidden = [each for each in (*SECRET_NAMES, *secrets) if each in known]
    shown = {
        **{each: value for each, value in known.items() if each not in hidden},
        **fixed,
        "PYTHONPATH": f"{APP}/src:{APP}/node",
        "HOME": HOME,
        "RUNTIME_DIRECTORY": RUNTIME,
    }
    return [
        # Before those that are made of it.
        {"name": POD, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        *({"name": each, "valueFrom": {"secretKeyRef": {"name": secret, "key": each}}} for each in sorted(hidden)),
        *({"name": each, "value": _literal(value)} for each, value in sorted(shown.items())),
    ]


def revision(template: Object, image: str) -> str:
    """What a worker calls what it runs by: a hash of its pod and of the image."""
    return sha256(json.dumps([template, image], sort_keys=True).encode()).hexdigest()[:12]


def release(image: str) -> str:
    """What a worker calls its release: the image's tag, or the beginning of its digest."""
    _, at, digest = image.partition("@")
    if at:
        return digest.removeprefix("sha256:")[:12]
    return image.rpartition("/")[2].partition(":")[2] or "latest"


def resources(sized: SizedWorker) -> Object:
    """Requests and limits by the memory plan. No limit of processor time, as on machines, unless the role has one."""
    worker = sized.worker
    limits: Object = {"memory": mebibytes(sized.memory_max)}
    if worker.cpu_quota:
        limits["cpu"] = f"{int(worker.cpu_quota.removesuffix('%')) * 10}m"
    if worker.workload == "gpu":
        limits["nvidia.com/gpu"] = 1
    requests: Object = {"cpu": _requested_cpu(sized), "memory": mebibytes(min(sized.expected, sized.memory_max))}
    if worker.workload == "gpu":
        requests["nvidia.com/gpu"] = 1
    return {"requests": requests, "limits": limits}


def _requested_cpu(sized: SizedWorker) -> str:
    worker = sized.worker
    if worker.kubernetes.cpu:
        return worker.kubernetes.cpu
    milli = {"cpu": 900 * sized.concurrency, "io": 500, "gpu": 1000}[worker.workload]
    if worker.cpu_quota:
        milli = min(milli, int(worker.cpu_quota.removesuffix("%")) * 10)
    return f"{milli}m"


def probes(worker: Worker) -> Object:
    """By files that the worker writes, in a shell: 2 ms of processor time, where asking Celery takes 400. None asks the broker:
    one that is away restarts nobody."""
    made: Object = {
        "startupProbe": startup(),
        "readinessProbe": {
            "exec": {"command": ["test", "-e", CONSUMES]},
            "periodSeconds": PROBE_EVERY,
            # A pod that computes is slow to answer, and no worse for it.
            "timeoutSeconds": PROBE_EVERY,
            "failureThreshold": 2,
        },
    }
    if worker.stall_seconds is not None:
        made["livenessProbe"] = liveness(worker.stall_seconds)
    return made


def startup() -> Object:
    """The probe of what is READY by a time. A process that is not has nothing to finish."""
    return {
        "exec": {"command": ["test", "-e", READY]},
        "periodSeconds": START_EVERY,
        "failureThreshold": -(-process.START_SECONDS // START_EVERY),
        "terminationGracePeriodSeconds": process.ABORT_SECONDS,
    }


def liveness(seconds: int) -> Object:
    """The probe of what has given a sign of life within so many seconds."""
    return {
        "exec": {"command": ["sh", "-c", alive(seconds)]},
        "periodSeconds": PROBE_EVERY,
        "timeoutSeconds": PROBE_EVERY,
        "failureThreshold": 3,
        "terminationGracePeriodSeconds": process.ABORT_SECONDS,
    }


def alive(seconds: int) -> str:
    """sh that fails if the worker has given no sign of life for so long."""
    return f'test -n "$(find {ALIVE} -newermt "-{seconds} seconds" 2>/dev/null)"'


def certificate_volumes(cluster: Cluster) -> list[Object]:
    """Where the broker's authority, and a certificate for clients, come from."""
    if not any(paths_of(cluster.plan.fleet)):
        return []
    return [{"name": "certificates", "secret": {"secretName": CERTIFICATE_SECRET}}]


def certificate_mounts(cluster: Cluster) -> list[Object]:
    """Where clients of the broker find these files, as on a machine."""
    return [{"name": each["name"], "mountPath": CERTIFICATES, "readOnly": True} for each in certificate_volumes(cluster)]


def mebibytes(size: int) -> str:
    """Bytes as a quantity."""
    return f"{size // MB}Mi"


def _literal(value: str) -> str:
    """A value in which the kubelet is to replace nothing: it takes $$ for $, too."""
    return value.replace("$", "$$")
