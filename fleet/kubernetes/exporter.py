"""The fleet's exporter in a cluster: metrics for Prometheus and KEDA, and for Kubernetes' own autoscaler. Pure."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

from fleet.kubernetes import costs, scaling
from fleet.kubernetes.cluster import Cluster
from fleet.kubernetes.network import broker_egress
from fleet.kubernetes.pod import APP, CONFINED, IMAGE, PART_OF, Object, certificate_mounts, certificate_volumes, confined
from fleet.kubernetes.scaling import EXPORTER, PORT
from fleet.plan import expected
from fleet.spec import endpoint

LABELS = {"app.kubernetes.io/name": EXPORTER}
SECURE_PORT = 6443
"""Where the API server asks for external metrics."""
SETTINGS, SECRETS, CERTIFICATE, STATE, ACCOUNT = (
    f"/etc/fleet-exporter/{name}" for name in ("settings", "secret", "tls", "state", "account")
)
API_PORTS = (443, 6443, 8443, 16443)
"""Of API servers: of the service, and of the servers behind it, which a policy is asked about (minikube's and MicroK8s', too)."""
GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"


def objects(cluster: Cluster) -> list[Object]:
    """The exporter; what the API server has to know of it, if Kubernetes' own autoscaler asks; and that it may say which pods go
    first, if any role scales."""
    text = settings(cluster)
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(), "data": {"fleet.json": text}},
        _deployment(cluster, text),
        _service(cluster),
        _policy(cluster),
        *(_api(cluster.authority, cluster.namespace) if cluster.authority else []),
        *(costs.objects(cluster.namespace, _metadata()) if cluster.scales else []),
    ]


def names(namespace: str) -> list[str]:
    """Of the exporter's certificate."""
    return [f"{EXPORTER}.{namespace}.svc", f"{EXPORTER}.{namespace}.svc.cluster.local"]


def secret_values(cluster: Cluster) -> dict[str, bytes]:
    """What its Secret has, but for the certificate."""
    return {"broker-url": f"{endpoint.broker(cluster.plan.fleet, cluster.secrets, 'monitor').url}\n".encode()}


def settings(cluster: Cluster) -> str:
    """`fleet_exporter.settings`: pods come and go, so that no worker is expected by its name."""
    fleet = cluster.plan.fleet
    external = {
        "namespace": cluster.namespace,
        "port": SECURE_PORT,
        "certificate": f"{CERTIFICATE}/tls.crt",
        "key": f"{CERTIFICATE}/tls.key",
    }
    content: dict[str, Any] = {
        "lease": cluster.plan.lease,
        "master_name": fleet.master_name,
        "use_ssl": endpoint.broker(fleet, cluster.secrets, "monitor").use_ssl,
        "address": "0.0.0.0",  # noqa: S104 - of the pod alone
        "port": PORT,
        "external": external if cluster.authority else None,
        "scaled": {"account": ACCOUNT, "deployments": scaling.deployments(cluster)} if cluster.scales else None,
        "workers": [],
        "queues": expected.queues(cluster.plan),
    }
    return f"{json.dumps(content, indent=1)}\n"


def _deployment(cluster: Cluster, text: str) -> Object:
    digest = sha256(text.encode() + cluster.exporter_certificate).hexdigest()[:12]
    mounts = {"settings": SETTINGS, "secret": SECRETS, "state": STATE}
    volumes: list[Object] = [
        {"name": "settings", "configMap": {"name": EXPORTER}},
        {"name": "secret", "secret": {"secretName": EXPORTER}},
        {"name": "state", "emptyDir": {}},
    ]
    if cluster.authority:
        mounts["tls"] = CERTIFICATE
        volumes.append({"name": "tls", "secret": {"secretName": f"{EXPORTER}-tls"}})
    if cluster.scales:
        mounts["account"] = ACCOUNT
        volumes.append(costs.volume("account"))
    container = {
        "name": "exporter",
        "image": IMAGE,
        "command": [f"{APP}/venv/bin/python", "-m", "fleet_exporter", f"{SETTINGS}/fleet.json"],
        "env": [
            {"name": "PYTHONPATH", "value": f"{APP}/exporter:{APP}/exporter-packages:{APP}/node"},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
            {"name": "CREDENTIALS_DIRECTORY", "value": SECRETS},
            {"name": "STATE_DIRECTORY", "value": STATE},
        ],
        "ports": [{"name": "metrics", "containerPort": PORT}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 10},
        "securityContext": CONFINED,
        "volumeMounts": [
            *({"name": name, "mountPath": path, "readOnly": name != "state"} for name, path in mounts.items()),
            *certificate_mounts(cluster),
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "template": {
                # Settings and certificate are read at the start alone: a change has to start another.
                "metadata": {"labels": {**LABELS, **PART_OF}, "annotations": {"checksum/settings": digest}},
                "spec": {
                    **({"serviceAccountName": EXPORTER} if cluster.scales else {}),
                    **confined(),
                    "containers": [container],
                    "volumes": [*volumes, *certificate_volumes(cluster)],
                },
            },
        },
    }


def _service(cluster: Cluster) -> Object:
    ports: list[Object] = [{"name": "metrics", "port": PORT, "targetPort": PORT}]
    if cluster.authority:
        ports.append({"name": "external", "port": 443, "targetPort": SECURE_PORT})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(),
        "spec": {"selector": LABELS, "ports": ports},
    }


def _policy(cluster: Cluster) -> Object:
    """Whoever scrapes, KEDA and the API server are in other namespaces, or in none: they are let in, and the API server is
    connected to, by the port."""
    ports = [PORT, *([SECURE_PORT] if cluster.authority else [])]
    api: list[Object] = [{"ports": [{"protocol": "TCP", "port": port} for port in API_PORTS]}] if cluster.scales else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(),
        "spec": {
            "podSelector": {"matchLabels": LABELS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": port} for port in ports]}],
            "egress": [*broker_egress(cluster), *api],
        },
    }


def _api(authority: bytes, namespace: str) -> list[Object]:
    """That the API server asks the exporter, and that the autoscaler may. One provider of external metrics is all that a cluster
    can have."""
    reader = f"{EXPORTER}-reader"
    role: Object = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": reader}
    return [
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}", "labels": PART_OF},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": EXPORTER, "namespace": namespace, "port": 443},
                "caBundle": base64.b64encode(authority).decode(),
            },
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": reader, "labels": PART_OF},
            "rules": [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["get", "list"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": reader, "labels": PART_OF},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}],
        },
    ]


def _metadata() -> Object:
    return {"name": EXPORTER, "labels": {**LABELS, **PART_OF}}
