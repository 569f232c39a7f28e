"""The fleet's own Redis in a cluster: its configuration and users as on a machine, and its file on a volume. Pure."""

from __future__ import annotations

from hashlib import sha256

from fleet.kubernetes.cluster import REDIS, Cluster
from fleet.kubernetes.network import REDIS_LABELS
from fleet.kubernetes.pod import CONFINED, PART_OF, Object, confined, mebibytes
from fleet.plan.plan import broker_memory
from fleet.spec.broker import Redis
from fleet.spec.sizes import resolve
from fleet.state import redis_configuration, redis_users

IMAGE = "fleet-redis"
"""In a base: an overlay has the name and the tag."""
NEWEST = "redis:7.2-bookworm"
"""What an overlay names: the last of Redis that is free software under its old licence, and newer than any Debian's here."""
USER = 999
"""Of that image."""
DATA = "/data"
USERS = "users.acl"
"""In its Secret."""
GROWTH = 3
"""The volume, in times the data: the append-only file grows to twice, and is rewritten beside itself."""
STOP = 120
"""Seconds to write the file as it ends."""


def names(namespace: str) -> list[str]:
    """Of its certificate: the one by which the fleet's pods connect, and those for others."""
    return [REDIS, f"{REDIS}.{namespace}.svc", f"{REDIS}.{namespace}.svc.cluster.local"]


def objects(cluster: Cluster) -> list[Object]:
    """Nothing, if the broker is not the fleet's own."""
    redis = cluster.plan.fleet.redis
    if redis is None:
        return []
    text = configuration(cluster, redis)
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(), "data": {"redis.conf": text}},
        _set(cluster, redis, text),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(),
            "spec": {
                "selector": REDIS_LABELS,
                "ports": [{"name": f"redis-{port}", "port": port, "targetPort": port} for port in redis.ports],
            },
        },
        _policy(redis),
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _metadata(),
            # One pod: no budget could keep it and let a node be drained. Tasks wait for it.
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": REDIS_LABELS}},
        },
    ]


def secret_values(cluster: Cluster) -> dict[str, bytes]:
    """What its Secret has, but for certificates: digests of passwords, and none of them itself."""
    return {USERS: redis_users.acl(cluster.secrets)} if cluster.plan.fleet.redis else {}


def configuration(cluster: Cluster, redis: Redis) -> str:
    """As on a machine, for the memory of the broker's machine."""
    text = redis_configuration.configuration(redis, "*", _memory(cluster)).decode()
    # Other than systemd's, of the pod.
    own = {"bind": "*", "supervised": "no", "dir": DATA}
    lines = [f"{line.split()[0]} {own[line.split()[0]]}" if line.split(" ")[0] in own else line for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def _memory(cluster: Cluster) -> int:
    fleet = cluster.plan.fleet
    return cluster.plan.machines[fleet.broker_host or ""].memory


def _set(cluster: Cluster, redis: Redis, text: str) -> Object:
    fleet, total = cluster.plan.fleet, _memory(cluster)
    limit = broker_memory(fleet, fleet.hosts[fleet.broker_host or ""], total)
    # All are read at the start alone. Of users, rights and names: a password is brought to the server by nobody here.
    digest = sha256(text.encode() + redis_users.acl(cluster.secrets) + cluster.certificate).hexdigest()[:12]
    container: Object = {
        "name": "redis",
        "image": IMAGE,
        "command": ["redis-server", redis_configuration.PATH],
        "ports": [{"name": f"redis-{port}", "containerPort": port} for port in redis.ports],
        "resources": {"requests": {"cpu": "500m", "memory": mebibytes(limit)}, "limits": {"memory": mebibytes(limit)}},
        # A large file takes minutes to read; the port is open meanwhile, and Redis says that it loads.
        "startupProbe": {"tcpSocket": {"port": redis.ports[0]}, "periodSeconds": 5, "failureThreshold": 60},
        "readinessProbe": {"tcpSocket": {"port": redis.ports[0]}, "periodSeconds": 5},
        "livenessProbe": {"tcpSocket": {"port": redis.ports[0]}, "periodSeconds": 20, "failureThreshold": 6},
        "securityContext": CONFINED,
        "volumeMounts": [
            {"name": "configuration", "mountPath": redis_configuration.FOLDER, "readOnly": True},
            {"name": "data", "mountPath": DATA},
        ],
    }
    files = {USERS: USERS} | ({name: f"tls/{name}" for name in redis_configuration.TLS_NAMES} if redis.tls else {})
    items = [{"key": key, "path": path} for key, path in files.items()]
    sources = [{"configMap": {"name": REDIS}}, {"secret": {"name": REDIS, "items": items}}]
    storage = GROWTH * resolve(redis.maxmemory, total)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(),
        "spec": {
            "replicas": 1,
            "serviceName": REDIS,
            "selector": {"matchLabels": REDIS_LABELS},
            "template": {
                "metadata": {"labels": {**REDIS_LABELS, **PART_OF}, "annotations": {"checksum/configuration": digest}},
                "spec": {
                    **confined(USER),
                    "terminationGracePeriodSeconds": STOP,
                    "containers": [container],
                    "volumes": [{"name": "configuration", "projected": {"sources": sources}}],
                },
            },
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data", "labels": PART_OF},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": mebibytes(storage)}}},
                }
            ],
        },
    }


def _policy(redis: Redis) -> Object:
    """Pods of this fleet, and others that have the label fleet-redis-client: producers."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(),
        "spec": {
            "podSelector": {"matchLabels": REDIS_LABELS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": [
                        {"podSelector": {"matchLabels": PART_OF}},
                        {"namespaceSelector": {}, "podSelector": {"matchLabels": {"fleet-redis-client": "true"}}},
                    ],
                    "ports": [{"protocol": "TCP", "port": port} for port in redis.ports],
                }
            ],
            "egress": [],
        },
    }


def _metadata() -> Object:
    return {"name": REDIS, "labels": {**REDIS_LABELS, **PART_OF}}
