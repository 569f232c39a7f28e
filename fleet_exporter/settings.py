"""What the exporter is told of the fleet: a JSON file, which a deploy writes. It holds no secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ExpectedWorker:
    """A worker that the settings ask for. nodes: its name among Celery's, or those that it may have."""

    nodes: tuple[str, ...]
    role: str
    host: str


@dataclass(frozen=True)
class ExpectedQueue:
    """A queue that a role names. consumers: workers that should consume it. minimum: that it keeps in a rollout. objective:
    seconds after which a task should have begun; None if nobody said. roles: that consume it."""

    consumers: int
    minimum: int
    objective: float | None = None
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class External:
    """Where Kubernetes finds its metrics. namespace: of the fleet. certificate, key: files, which are read as the exporter
    starts."""

    namespace: str
    port: int
    certificate: str
    key: str


@dataclass(frozen=True)
class Scaled:
    """Pods that something adds and removes. account: the folder with the token and the authority of the API server. deployments:
    role → its Deployment."""

    account: str
    deployments: Mapping[str, str]


@dataclass(frozen=True)
class Settings:
    """address, port: where Prometheus finds the exporter. lease: of workers, in seconds; None if they have none. master_name: of
    the primary, if the broker's URL is of sentinels. use_ssl: Celery's broker_use_ssl, of a RabbitMQ with TLS.
    management: the port of its management API, if a node of it is on this machine. beats: hosts of beat, if the broker says which
    of them leads. external, scaled: in a cluster, where its API server asks, and whose pods are removed by what they hold."""

    lease: float | None = None
    master_name: str | None = None
    use_ssl: Mapping[str, Any] | None = None
    management: int | None = None
    beats: int = 0
    address: str = "127.0.0.1"
    port: int = 9808
    external: External | None = None
    scaled: Scaled | None = None
    workers: tuple[ExpectedWorker, ...] = ()
    queues: Mapping[str, ExpectedQueue] = field(default_factory=dict)


def read(path: Path) -> Settings:
    """Read the file. Raises OSError, ValueError, KeyError and TypeError if it is none of ours."""
    return parse(json.loads(path.read_text()))


def parse(content: Mapping[str, Any]) -> Settings:
    """The settings of the file's content."""
    workers = tuple(ExpectedWorker(tuple(entry["nodes"]), entry["role"], entry["host"]) for entry in content["workers"])
    queues = {
        name: ExpectedQueue(**{**entry, "roles": tuple(entry.get("roles", ()))}) for name, entry in content["queues"].items()
    }
    external = External(**given) if (given := content.get("external")) else None
    scaled = Scaled(**given) if (given := content.get("scaled")) else None
    return Settings(**{**content, "workers": workers, "queues": queues, "external": external, "scaled": scaled})
