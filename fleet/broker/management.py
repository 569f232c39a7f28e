"""RabbitMQ's management API: memory, disk and nodes, which AMQP does not say. It is asked only of the fleet's own brokers, which
have it on loopback."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

PATIENCE = 5.0
"""Seconds for an answer."""


@dataclass(frozen=True)
class Management:
    """Where it is reached: a port of this machine, and a user who may look. size: how many nodes the fleet has."""

    port: int
    user: str
    password: str = field(repr=False)
    size: int = 1

    def get(self, path: str) -> Any:
        """The answer to GET /api/<path>. Raises OSError."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            key = b64encode(f"{self.user}:{self.password}".encode()).decode()
            connection.request("GET", f"/api/{path}", headers={"Authorization": f"Basic {key}"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise OSError(f"/api/{path}: {answer.status} {answer.reason}")
            return json.loads(text)
        except (HTTPException, ValueError) as error:
            raise OSError(f"/api/{path}: {error!r}") from None
        finally:
            connection.close()

    def problems(self, vhost: str) -> list[str]:
        """What is wrong with the cluster and with the queues of a virtual host, in words. Raises OSError."""
        columns = "name,type,members,online"
        return [*of_nodes(self.get("nodes"), self.size), *of_queues(self.queues(vhost, columns))]

    def queues(self, vhost: str, columns: str) -> list[dict[str, Any]]:
        """The queues of a virtual host. Raises OSError."""
        queues: list[dict[str, Any]] = self.get(f"queues/{quote(vhost, safe='')}?columns={columns}")
        return queues


def of_nodes(nodes: Iterable[Mapping[str, Any]], size: int = 1) -> list[str]:
    """What is wrong with the nodes of a cluster. nodes: the answer of /api/nodes. size: how many there should be."""
    nodes = list(nodes)
    lines = []
    if len(nodes) < size:
        names = ", ".join(sorted(str(node.get("name")) for node in nodes))
        lines.append(
            f"{len(nodes)} of {size} nodes of RabbitMQ are one cluster ({names}): what the others have, these do not see"
        )
    if down := sorted(str(node.get("name")) for node in nodes if not node.get("running")):
        be = "is" if len(down) == 1 else "are"
        lines.append(f"RabbitMQ's {', '.join(down)} {be} down: {len(nodes) - len(down)} of {len(nodes)} nodes run")
    for node in nodes:
        if not node.get("running"):
            continue
        name = node.get("name")
        if node.get("mem_alarm"):
            used, limit = (int(node.get(key) or 0) >> 20 for key in ("mem_used", "mem_limit"))
            lines.append(
                f"{name} is at its memory limit ({used} of {limit} MB): RabbitMQ takes no new tasks; work its queues off, or "
                "give its machine more"
            )
        if node.get("disk_free_alarm"):
            free, least = (int(node.get(key) or 0) >> 20 for key in ("disk_free", "disk_free_limit"))
            lines.append(f"{name} has {free} MB of disk left, and needs {least}: RabbitMQ takes no new tasks; make room there")
        if away := node.get("partitions"):
            lines.append(f"{name} does not see {', '.join(map(str, away))}: the cluster is split")
    return lines


def strangers(nodes: Iterable[Mapping[str, Any]], hosts: Mapping[str, str]) -> list[str]:
    """The hosts of nodes that run and are in another cluster than the one that was asked. nodes: its answer of /api/nodes. hosts:
    node → its host, of all that run."""
    known = {str(node.get("name")) for node in nodes}
    return [host for name, host in hosts.items() if name not in known]


def of_queues(queues: Iterable[Mapping[str, Any]]) -> list[str]:
    """Which quorum queues have lost their majority. queues: with name, type, members and online."""
    lost = [
        (str(queue.get("name")), len(queue.get("online") or ()), len(queue["members"]))
        for queue in queues
        if queue.get("type") == "quorum" and queue.get("members")
    ]
    return [
        f"queue {name} has lost its majority ({online} of {members} nodes are there): nothing comes into it or out of it"
        for name, online, members in lost
        if 2 * online <= members
    ]
