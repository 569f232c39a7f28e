"""The fleet as it is on Kubernetes: its own broker is reached by a name, and each role has one kind of pod."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from fleet.errors import FleetError
from fleet.kubernetes import names
from fleet.plan.instance import Instance
from fleet.plan.plan import Plan
from fleet.spec.fleet import Fleet, Host
from fleet.spec.pod import Scale

MINORS = (35, 36, 37)
"""Kubernetes 1.x for which manifests can be written: those that are supported."""
ZERO_BY_HPA = 37
"""The first that scales to zero by itself."""
REDIS = "fleet-redis"
"""The service of the fleet's own Redis."""


class ClusterError(FleetError):
    """Something that cannot be written as manifests. str() says what, and what to do."""


@dataclass(frozen=True)
class Cluster:
    """What manifests are made of. secrets: of the secrets file; no manifest has any. image: with its tag or digest. minor: of
    Kubernetes 1.x. authority: PEM, by which the API server knows the exporter; None if it does not ask it. certificate: PEM, of
    the fleet's own Redis if it has TLS. exporter_certificate: PEM, which the API server is shown."""

    plan: Plan
    secrets: Mapping[str, str] = field(repr=False)
    image: str
    minor: int
    namespace: str = "default"
    authority: bytes | None = None
    certificate: bytes = b""
    exporter_certificate: bytes = b""

    @cached_property
    def labels(self) -> dict[str, str]:
        """Role → its name among those of Kubernetes."""
        return names.labels(self.plan.roles)

    @cached_property
    def roles(self) -> dict[str, Instance]:
        """Role → the instance that its pods are like: the first of the inventory."""
        first: dict[str, Instance] = {}
        for instance in self.plan.instances:
            first.setdefault(instance.role, instance)
        return first

    @cached_property
    def scales(self) -> dict[str, Scale]:
        """Role → between what its number of pods moves, of roles that scale."""
        scales = {role: instance.worker.kubernetes.scale for role, instance in self.roles.items()}
        return {role: scale for role, scale in scales.items() if scale}

    def host(self, role: str) -> Host:
        """The machine that a role's pods are like."""
        return self.plan.fleet.hosts[self.roles[role].host]

    def replicas(self, role: str) -> int:
        """As many as the machines have instances, or what scaling begins with."""
        scale = self.scales.get(role)
        return scale.min if scale else sum(instance.role == role for instance in self.plan.instances)

    def differing(self, role: str) -> list[str]:
        """Machines on which the role is sized otherwise than its pods."""
        sized = self.roles[role].sized
        return [
            placed.host for placed in self.plan.roles[role] if placed.sized != replace(sized, instances=placed.sized.instances)
        ]


def on_kubernetes(plan: Plan) -> Plan:
    """The plan with the fleet's own Redis behind its service. Raises ClusterError for a RabbitMQ of the fleet's own."""
    fleet = plan.fleet
    if fleet.rabbitmq:
        raise ClusterError(
            'broker: "kind": "rabbitmq" is not written as manifests: run RabbitMQ by its own operator, and write its URL: '
            'broker = {"url": "@BROKER_URL"}'
        )
    return replace(plan, fleet=behind_service(fleet))


def behind_service(fleet: Fleet) -> Fleet:
    """The fleet with its own Redis, if it has one, at the address that pods know."""
    if fleet.broker_host is None:
        return fleet
    host = fleet.hosts[fleet.broker_host]
    behind = replace(host, settings=host.settings.model_copy(update={"lan_address": REDIS}))
    return replace(fleet, hosts={**fleet.hosts, host.name: behind})
