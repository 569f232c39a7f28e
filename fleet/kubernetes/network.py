"""What pods may connect to. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from fleet.kubernetes.cluster import REDIS, Cluster
from fleet.kubernetes.pod import PART_OF, Object, labels, name
from fleet.spec import endpoint

DNS: Object = {"ports": [{"protocol": protocol, "port": port} for port in (53, 5353) for protocol in ("UDP", "TCP")]}
"""Anywhere: a node's own cache has another address than kube-dns, and OpenShift another port and namespace."""
REDIS_LABELS = {"app.kubernetes.io/name": REDIS}


def policy(cluster: Cluster, role: str) -> Object:
    """A role's pods connect to the broker, the results and what the role names. Nobody connects to them."""
    worker = cluster.roles[role].worker
    egress = broker_egress(cluster, with_results=True)
    for destination in worker.kubernetes.egress:
        network, _, port = destination.rpartition(":")
        egress.append({"to": [{"ipBlock": {"cidr": network}}], "ports": [{"protocol": "TCP", "port": int(port)}]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name(cluster, role), "labels": {**labels(cluster, role), **PART_OF}},
        "spec": {
            "podSelector": {"matchLabels": labels(cluster, role)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": egress,
        },
    }


def broker_egress(cluster: Cluster, with_results: bool = False) -> list[Object]:
    """What everybody may connect to who uses the broker; and the results, for workers."""
    return [DNS, *_broker(cluster, with_results)]


def _broker(cluster: Cluster, with_results: bool) -> Iterator[Object]:
    fleet = cluster.plan.fleet
    broker = endpoint.broker(fleet, cluster.secrets)
    if fleet.redis:
        yield {"to": [{"podSelector": {"matchLabels": REDIS_LABELS}}], "ports": [{"protocol": "TCP", "port": broker.port}]}
    else:
        yield from (_server(*address) for address in broker.addresses)
    results = endpoint.result_server(fleet, cluster.secrets) if with_results else None
    if results:
        yield _server(results.address, results.port)


def _server(address: str, port: int) -> Object:
    """A server by its address; by its port alone if it has a name, which no policy can have."""
    ports = [{"protocol": "TCP", "port": port}]
    try:
        bits = ip_address(address).max_prefixlen
    except ValueError:
        return {"ports": ports}
    return {"to": [{"ipBlock": {"cidr": f"{address}/{bits}"}}], "ports": ports}
