"""`fleet drill kill-child` and its like: a fault under a steady load, with every task accounted for and the way back timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.drill import faults, ledger
from fleet.drill.errors import DrillError
from fleet.drill.faults import Fault, Target
from fleet.drill.rollout import quiet
from fleet.inventory import ssh
from fleet.plan.plan import Placement, Plan
from fleet.rollout import lock

if TYPE_CHECKING:
    from redis import Redis

    from fleet.drill.load import Producer

BACK_WITHIN = 15.0
"""Seconds after the end of a fault in which every worker that it befell should begin a task again; where it died by it, the
visibility timeout."""
PATIENCE = 300.0
"""Seconds to wait for a fault to begin, to end, or for a worker to be back."""
BUSY_PATIENCE = 60.0
"""Seconds to wait until the worker has a long task."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Unit:
    """One worker: its systemd unit, on which host, and its name among Celery's."""

    host: str
    name: str
    node: str


@dataclass(frozen=True)
class Ground:
    """Where a drill takes place. hosts: what the inventory says of each."""

    plan: Plan
    hosts: Mapping[str, Mapping[str, Any]]
    producer: Producer
    broker: Redis
    say: Say

    def ask(self, host: str, command: str) -> str:
        """What sh prints on a machine, as root. Raises LockError where it fails."""
        return lock.ask(host, self.hosts[host], command)[1]

    def units(self) -> list[Unit]:
        """Every worker of the fleet."""
        names = {host: self.ask(host, "uname -n").strip() for host in self.plan.workers}
        return [
            Unit(one.host, f"celery-{one.role}@{number}.service", f"{one.role}-worker-{number}@{names[one.host]}")
            for one, number in self.plan.instances
        ]

    def processes(self, units: Iterable[Unit]) -> dict[Unit, str]:
        """The main process of each; a host that does not answer has none."""
        by_host: dict[str, list[Unit]] = {}
        for unit in units:
            by_host.setdefault(unit.host, []).append(unit)
        found: dict[Unit, str] = {}
        for host, there in by_host.items():
            names = " ".join(unit.name for unit in there)
            with suppress(lock.LockError):
                pids = self.ask(host, f"systemctl show --value --property=MainPID {names}").split()
                found |= dict(zip(there, pids, strict=True))
        return found


def place_of(fault: Fault, plan: Plan, role: str | None) -> Placement:
    """The role and host that a fault befalls: of `role`, or the first that it means something for. Raises DrillError."""
    known = ", ".join(plan.roles)
    if role is not None and role not in plan.roles:
        raise DrillError(f"--role: no role {role}; the roles are {known}")
    fitting = [
        places[0]
        for name, places in plan.roles.items()
        if role in (None, name)
        and (not fault.pools or places[0].sized.worker.pool in fault.pools)
        and (fault.name != "stall" or places[0].sized.worker.stall_seconds is not None)
    ]
    if not fitting:
        pools = f", which means something for {', '.join(fault.pools)} alone" if fault.pools else ""
        raise DrillError(f"{fault.name}: {f'not for role {role}' if role else 'no role of this fleet has the pool'}{pools}")
    # Where tasks are long, one is at work when it happens.
    return min(fitting, key=lambda one: ("cpu", "io", "gpu").index(one.sized.worker.workload))


def run(fault: Fault, ground: Ground, place: Placement, before: float, patience: float) -> dict[str, Any]:
    """Load, the fault, its end, the way back, load. patience: seconds in which some task has to end before the rest is lost.

    Returns the account and {"drill", "at": what it befell, "back_s": seconds from the fault's end until every worker that it
    befell had begun a task (None: one never did), "back_within_s": as long as that may take, "fault_s", "restarted": units,
    "parked": tasks, "went_wrong"}.
    """
    everyone = ground.units()
    unit = next(one for one in everyone if one.host == place.host and one.name.startswith(f"celery-{place.role}@"))
    befallen = {
        "unit": [unit],
        "host": [one for one in everyone if one.host == unit.host],
        "broker": everyone,
    }[fault.at]
    whom = {"unit": f"{unit.host}:{unit.name}", "host": unit.host, "broker": ground.plan.fleet.broker_host}[fault.at]
    quiet(ground.producer, before)
    if place.sized.worker.workload == "cpu":
        _until_busy(ground, unit)
    processes = ground.processes(everyone)
    ground.say(f"{fault.name}: {fault.action}, at {whom} …")
    began = ground.producer.now()
    parked = _inject(fault, ground, unit, place)
    ended = _until_over(fault, ground, place, unit, processes, began)
    ground.say(f"{fault.name}: over after {ended - began:.0f} s; waiting for {len(befallen)} worker(s) to begin tasks again …")
    back = _back(ground, befallen, ended)
    ground.say(f"{fault.name}: " + (f"back after {back:.1f} s" if back is not None else "not back"))
    quiet(ground.producer, before)
    now = ground.processes(everyone)
    ground.producer.stop()
    ground.say(f"waiting for what was sent (at most {patience:.0f} s without any news) …")
    ground.producer.wait_until_finished(patience)
    account = ledger.account(ground.producer.sent, ground.producer.entries())
    wrong = []
    within = (ground.plan.visibility_timeout or PATIENCE) if fault.kills else BACK_WITHIN
    if back is None or back > within:
        wrong.append(f"not every worker was back within {within:.0f} s")
    if parked is not None and not parked:
        wrong.append("the task was not parked")
    return {
        "drill": fault.name,
        "at": whom,
        **account.as_json(),
        "fault_s": round(ended - began, 1),
        "back_s": None if back is None else round(back, 1),
        "back_within_s": within,
        "restarted": sorted(f"{one.host}:{one.name}" for one, pid in now.items() if processes.get(one) != pid),
        "parked": int(bool(parked)),
        "visibility_timeout_s": ground.plan.visibility_timeout,
        "went_wrong": "; ".join(wrong) or None,
    }


def _inject(fault: Fault, ground: Ground, unit: Unit, place: Placement) -> bool | None:
    """Do it. For a task that is to be parked: whether it was."""
    if fault.name == "oom":
        return _out_of_memory(ground, place)
    if fault.name == "reboot":
        _reset(ground, unit.host)
        return None
    assert fault.command  # noqa: S101 - of the table
    fleet = ground.plan.fleet
    target = Target(unit.name, (fleet.broker_address, fleet.broker.port), f"/var/lib/celery/{place.role}")
    ground.ask(fleet.broker_host if fault.at == "broker" else unit.host, fault.command(target))
    return None


def _out_of_memory(ground: Ground, place: Placement) -> bool:
    from fleet.broker import parked

    task = ground.producer.send_aside("memory", float(place.sized.memory_max), place.sized.worker.queues[0])
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ground.producer.check()
        if mine := [one for one in parked.read(ground.broker) if one["id"] == task]:
            ground.say(f"parked: {mine[0]['reason']}")
            parked.drop(ground.broker, mine)  # ours: nobody is to look after it
            return True
        time.sleep(1)
    return False


def _reset(ground: Ground, host: str) -> None:
    """A machine of the lab by its QEMU; any other by its kernel, which does not write anything to disk before."""
    from lab import qmp

    key = Path(str(ground.hosts[host].get("ssh_key") or "."))
    if (key.parent / f"{host}.qmp").exists():
        qmp.reset(key.parent, host)
        return
    with suppress(lock.LockError):
        lock.ask(host, ground.hosts[host], "echo 1 >/proc/sys/kernel/sysrq; (sleep 1; echo b >/proc/sysrq-trigger) & exit 0")


def _until_over(fault: Fault, ground: Ground, place: Placement, unit: Unit, before: Mapping[Unit, str], began: float) -> float:
    """When it was, by Redis' clock."""
    found_out = place.sized.worker.stall_seconds or 0 if fault.name == "stall" else 0
    deadline = time.monotonic() + PATIENCE + found_out
    gone = False
    while time.monotonic() < deadline:
        ground.producer.check()
        if fault.lasts:
            if ground.ask(unit.host, faults.AT_WORK).strip() != "active":
                return ground.producer.now()
        elif fault.name == "stall":
            pid = ground.processes([unit]).get(unit, "0")
            if pid not in ("0", before.get(unit)):
                return ground.producer.now()
        elif fault.name == "reboot":
            answers = _answers(ground, unit.host)
            if gone and answers:
                return ground.producer.now()
            gone = gone or not answers or ground.producer.now() - began > 60
        else:
            return ground.producer.now()
        time.sleep(0.5)
    raise DrillError(f"{fault.name}: not over after {PATIENCE:.0f} s")


def _answers(ground: Ground, host: str) -> bool:
    try:
        return ssh.run(host, ground.hosts[host], "true").returncode == 0
    except ssh.SSHError:
        return False


def _until_busy(ground: Ground, unit: Unit) -> None:
    """Wait until the worker runs a long task of ours, for a while: a fault that befalls an idle one shows little."""
    deadline = time.monotonic() + BUSY_PATIENCE
    while time.monotonic() < deadline:
        ground.producer.check()
        long = {one.number for one in ground.producer.sent if one.kind == "long"}
        running = set()
        for number, what, _, node in ground.producer.entries():
            if node == unit.node and number in long:
                running.add(number) if what == "start" else running.discard(number)
        if running:
            return
        time.sleep(0.2)


def _back(ground: Ground, befallen: Iterable[Unit], ended: float) -> float | None:
    """Seconds from `ended` until each of these workers had begun a task."""
    deadline = time.monotonic() + PATIENCE
    wanted = {unit.node for unit in befallen}
    while time.monotonic() < deadline:
        ground.producer.check()
        first: dict[str, float] = {}
        for _, what, at, node in ground.producer.entries():
            if what == "start" and at >= ended:
                first[node] = min(at, first.get(node, at))
        if wanted <= set(first):
            return max(first[node] for node in wanted) - ended
        time.sleep(0.5)
    return None
