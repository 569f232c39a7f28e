"""Whether beat works: one leads, and every host that should run one does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.broker.beat import BeatView
from fleet.plan.process import beat_node
from fleet.spec.fleet import Fleet
from fleet.state.observed import ObservedMachine
from fleet.state.paths import BEAT_UNIT

SILENT = 30.0
"""Seconds without a sign after which a beat counts as silent. It says something every five seconds at least."""


@dataclass(frozen=True)
class BeatStatus:
    """leader: a host; empty if none leads. since: ISO 8601; empty if that is not known. standbys: hosts. problems: in words."""

    leader: str = ""
    since: str = ""
    standbys: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default_factory=tuple)

    def __str__(self) -> str:
        standbys = f"; standby: {', '.join(self.standbys)}" if self.standbys else ""
        return f"{self.leader} leads{f' since {self.since}' if self.since else ''}{standbys}" if self.leader else "nobody leads"

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "leader": self.leader or None,
            "since": self.since or None,
            "standbys": list(self.standbys),
            "problems": list(self.problems),
        }


def judge(fleet: Fleet, machines: Mapping[str, ObservedMachine], view: BeatView | None) -> BeatStatus | None:
    """How beat is; None if the fleet has none. machines: host → what is on it, of those that answered. view: what the broker
    says; None if it does not answer."""
    if not fleet.beat_hosts:
        return None
    nodes = {
        host: beat_node(machines[host].hostname if host in machines and machines[host].hostname else host)
        for host in fleet.beat_hosts
    }
    problems, standbys = [], []
    for host, node in nodes.items():
        unit = machines[host].units.get(BEAT_UNIT) if host in machines else None
        sign = view.signs.get(node) if view else None
        if host in machines and not (unit and unit.active):
            problems.append(f"{host}: {BEAT_UNIT} does not run")
        elif view and not view.has_lock:
            continue
        elif view and sign is None:
            problems.append(f"{host}: its beat has said nothing yet")
        elif view and sign and sign[1] > SILENT:
            problems.append(f"{host}: its beat has said nothing for {sign[1]:.0f} s")
        elif view and node != view.leader:
            standbys.append(host)
    if view and not view.has_lock:
        return _without_lock(fleet, machines, problems)
    if view is None:
        return BeatStatus(problems=(*problems, "who leads is not known: the broker does not answer"))
    hosts = {node: host for host, node in nodes.items()}
    if not view.leader:
        problems.append("no beat leads: nothing of the schedule is sent")
    elif view.leader not in hosts:
        problems.append(f"{view.leader} leads, and is on no host of the group beat")
    sign = view.signs.get(view.leader)
    since = sign[0]["since"] if sign and sign[0]["leads"] else ""
    return BeatStatus(hosts.get(view.leader, view.leader), since, tuple(standbys), tuple(problems))


def _without_lock(fleet: Fleet, machines: Mapping[str, ObservedMachine], problems: list[str]) -> BeatStatus:
    """RabbitMQ has no lock: beat is on one host, and leads if its unit runs."""
    running = [
        host for host in fleet.beat_hosts if host in machines and (unit := machines[host].units.get(BEAT_UNIT)) and unit.active
    ]
    unseen = [f"{host} does not answer: whether its beat runs is not known" for host in fleet.beat_hosts if host not in machines]
    return BeatStatus(running[0] if running else "", problems=(*problems, *unseen))
