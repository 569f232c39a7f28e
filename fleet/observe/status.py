"""Two questions about a fleet: is it as asked, and does it work? And who is changing it. The edge asks; the rest is pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from fleet.errors import FleetError
from fleet.inventory import ssh
from fleet.inventory.ask import answer
from fleet.observe import drift
from fleet.observe.beat import BeatStatus, judge
from fleet.observe.collect import AT_ONCE, CONNECT_SECONDS, collect
from fleet.observe.workers import Load, load_of
from fleet.plan.plan import Plan, resolved
from fleet.rollout import history, lock
from fleet.rollout.history import HistoryEntry
from fleet.spec import certificates
from fleet.state import observed
from fleet.state.observed import ObservedMachine
from fleet.state.role import watched

PATIENCE = 60.0
"""Seconds for a machine to say what is on it."""


@dataclass(frozen=True)
class Status:
    """load: whether the workers work. hosts: how many there are. drift: host → what a deploy would change there, of those that
    differ. unknown: host → why that is not known. holder: who holds the lock, in words; empty if nobody does. last: the last run.
    problems: why that is not known. beat: None if the fleet has none."""

    load: Load
    hosts: int
    drift: Mapping[str, list[str]] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    holder: str = ""
    last: HistoryEntry | None = None
    problems: tuple[str, ...] = ()
    beat: BeatStatus | None = None

    @property
    def is_as_asked(self) -> bool:
        """Whether a deploy would change nothing, as far as all machines say."""
        return not (self.drift or self.unknown)

    @property
    def is_working(self) -> bool:
        """Whether every worker is well, beat is, and broker and machines answer."""
        return self.load.is_well and not (self.beat and self.beat.problems)


def status(file: Path) -> Status:
    """Ask all machines and the broker. Raises FleetError if the settings are wrong, or nothing can be looked at."""
    roles = drift.roles_of_project()
    looked_at = observed.command(watched(roles))
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        collected = collect(file)
        hosts = collected.inventory.hosts
        answers = dict(zip(hosts, pool.map(lambda host: probe(host, hosts[host], looked_at), hosts), strict=True))
        records = collected.plan.fleet.records_host
        runs, problems = _runs(records, hosts[records], str(file))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    load = load_of(collected.plan, collected.machines, collected.silent, collected.broker)
    machines = {host: machine for host, machine in answers.items() if isinstance(machine, ObservedMachine)}
    unknown = {host: why for host, why in answers.items() if isinstance(why, str)}
    differing, unclear = drifts(
        collected.plan, collected.secrets, machines, lambda view, host: drift.drift_of(view, roles, view.fleet.hosts[host])
    )
    beat = judge(collected.plan.fleet, machines, collected.broker.beat)
    return Status(load, len(hosts), differing, {**unknown, **unclear}, *runs, problems=problems, beat=beat)


def drifts(
    plan: Plan,
    secrets: Mapping[str, str],
    machines: Mapping[str, ObservedMachine],
    judge: Callable[[drift.View, str], list[str]],
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """(host → what a deploy would change there, host → why that is not known). machines: that have said what is on them. judge:
    says what a deploy would do on a host. secrets: of the fleet."""
    fleet = plan.fleet
    if missing := [name for name in fleet.secrets if not secrets.get(name)]:
        why = f"{fleet.settings.secrets_file} lacks {', '.join(missing)}: see fleet secrets"
        return {}, dict.fromkeys(machines, why)
    plan = resolved(fleet, {**plan.machines, **{host: machine.facts for host, machine in machines.items()}})
    view = drift.View(fleet, plan, secrets, machines, certificates.read(fleet))
    differing: dict[str, list[str]] = {}
    unclear: dict[str, str] = {}
    for host in machines:
        try:
            if lines := judge(view, host):
                differing[host] = lines
        except FleetError as error:
            unclear[host] = str(error)
    return differing, unclear


def probe(host: str, data: Mapping[str, Any], command: str) -> ObservedMachine | str:
    """What is on a machine, or why that is not known."""
    return answer(host, data, ssh.as_root(data, command), observed.parse, PATIENCE, CONNECT_SECONDS)


def _runs(host: str, data: Mapping[str, Any], inventory: str) -> tuple[tuple[str, HistoryEntry | None], tuple[str, ...]]:
    """Who holds the lock, and the last run; and why that is not known."""
    try:
        held = lock.read_lock(host, data)
        entries = cast("list[HistoryEntry]", lock.read_history(host, data))
    except FleetError as error:
        return ("", None), (str(error),)
    return (lock.explain(held, inventory) if held else "", history.last(entries)), ()


def as_json(result: Status) -> dict[str, Any]:
    """The output of `fleet status --json`."""
    return {
        "as_asked": result.is_as_asked,
        "working": result.is_working,
        "drift": {host: list(lines) for host, lines in result.drift.items()},
        "unknown": dict(result.unknown),
        "workers": {worker.node: {"state": worker.state, "why": worker.why} for worker in result.load.workers},
        "broker": result.load.problem or "answers",
        "not_known": dict(result.load.unknown),
        "beat": result.beat.as_json() if result.beat else None,
        "silent": dict(result.load.silent),
        "lock": result.holder or None,
        "last_run": result.last,
        "problems": list(result.problems),
    }
