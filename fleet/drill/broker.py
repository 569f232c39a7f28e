"""What a drill can do with the broker of a fleet, and which drills mean nothing for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.drill.errors import DrillError
from fleet.drill.faults import Fault
from fleet.spec.fleet import Fleet
from fleet.spec.urls import REFERENCE, Endpoint, parse

NODES_OF_A_CLUSTER = 3
"""Nodes from which on RabbitMQ outlives the loss of one."""


def service_of(fleet: Fleet) -> str:
    """The systemd unit of the fleet's own broker; empty if it is not ours."""
    return "redis-server" if fleet.redis else "rabbitmq-server" if fleet.rabbitmq else ""


def broker_place(fault: Fault, fleet: Fleet) -> str | None:
    """The host of a fault at the broker; None if the fault is elsewhere. A node that is killed is the last one: commands go
    through the first."""
    if fault.at != "broker":
        return None
    return fleet.broker_hosts[-1 if fault.name == "broker-kill" else 0]


def refuse(fault: Fault, fleet: Fleet) -> None:
    """Raises DrillError if a fault at the broker means nothing for this one."""
    if fault.at != "broker":
        return
    if fleet.broker_host is None:
        raise DrillError(f"{fault.name}: the broker is not this fleet's")
    if fault.name == "broker-kill" and (fleet.redis or len(fleet.broker_hosts) < NODES_OF_A_CLUSTER):
        has = "one Redis" if fleet.redis else "one RabbitMQ"
        raise DrillError(
            f"{fault.name}: it is for a RabbitMQ of {NODES_OF_A_CLUSTER} nodes, and this fleet has {has}; see broker-restart"
        )


def refuse_beat(fleet: Fleet) -> None:
    """Raises DrillError if the beats of a fleet have no leader."""
    if fleet.transport == "amqp":
        raise DrillError(
            "kill-beat: with RabbitMQ one host runs beat, and nobody takes over: there is no lock, and no record of runs to check"
        )


def ledger_of(fleet: Fleet, secrets: Mapping[str, str]) -> Endpoint | None:
    """The Redis in which a drill's tasks write down what they do, as machines reach it: that of the results. None if the broker
    is a Redis itself. Raises DrillError if there is none."""
    if fleet.transport == "redis":
        return None
    backend = fleet.settings.result_backend
    why = "a drill's tasks write down what they do in the Redis of the results, and RabbitMQ is none"
    if not backend.startswith(REFERENCE):
        raise DrillError(f'{why}: result_backend is "{backend}"; write "@RESULT_URL", the name of a secret with a redis:// URL')
    name = backend.removeprefix(REFERENCE)
    try:
        endpoint = parse(secrets[name])
    except ValueError:
        raise DrillError(f"{why}: {name} in {fleet.settings.secrets_file} is no redis:// or rediss:// URL") from None
    if endpoint.scheme not in ("redis", "rediss"):
        raise DrillError(f"{why}: {name} is a {endpoint.scheme}:// URL; write one of redis:// or rediss://")
    return endpoint
