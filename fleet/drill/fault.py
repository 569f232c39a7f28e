"""`fleet drill kill-child` and the other faults: a fault under a steady load, until every affected worker is at work again."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.drill import ledger, recovery
from fleet.drill.broker import broker_place, refuse
from fleet.drill.context import DrillContext, RunningWorker
from fleet.drill.errors import DrillError
from fleet.drill.faults import Fault
from fleet.drill.injection import inject
from fleet.drill.outcome import FaultOutcome, silence_of
from fleet.plan.plan import Placement, Plan


def choose_placement(fault: Fault, plan: Plan, role: str | None) -> Placement:
    """The role and host that a fault affects: of `role`, or of the first role for which it means something. Raises DrillError."""
    if role is not None and role not in plan.roles:
        raise DrillError(f"--role: no role {role}; the roles are {', '.join(plan.roles)}")
    refuse(fault, plan.fleet)
    fitting = [
        placements[0]
        for name, placements in plan.roles.items()
        if role in (None, name)
        and (not fault.pools or placements[0].sized.worker.pool in fault.pools)
        and (fault.name != "stall" or placements[0].sized.worker.stall_seconds is not None)
    ]
    if not fitting:
        pools = f", which means something for {', '.join(fault.pools)} alone" if fault.pools else ""
        raise DrillError(f"{fault.name}: {f'not for role {role}' if role else 'no role of this fleet has the pool'}{pools}")
    # Long tasks are the best: one is at work when the fault happens.
    return min(fitting, key=lambda placement: ("cpu", "io", "gpu").index(placement.worker.workload))


def affected_by(fault: Fault, target: RunningWorker, workers: Sequence[RunningWorker]) -> list[RunningWorker]:
    """The workers that a fault affects, if it happens at `target`."""
    if fault.at == "unit":
        return [target]
    if fault.at == "host":
        return [worker for worker in workers if worker.host == target.host]
    return list(workers)


def place_name(fault: Fault, target: RunningWorker, broker_host: str) -> str:
    """The name of the place where a fault happens, for people: a unit of a host, or a host."""
    return {"unit": str(target), "host": target.host, "broker": broker_host}[fault.at]


def run(fault: Fault, context: DrillContext, placement: Placement, before: float, patience: float) -> FaultOutcome:
    """Load, the fault, its end, recovery, load; then wait for the tasks that were sent.

    before: seconds of load before the fault and after the recovery. patience: seconds without any task that ends, after which the
    rest counts as lost. Raises DrillError if the fault does not end, and what went wrong while the load was sent.
    """
    workers = context.workers()
    target = next(
        worker for worker in workers if worker.host == placement.host and worker.unit.startswith(f"celery-{placement.role}@")
    )
    affected = affected_by(fault, target, workers)
    at = place_name(fault, target, broker_place(fault, context.plan.fleet) or "")
    producer, say = context.producer, context.say

    producer.send_for(before)
    if placement.worker.workload == "cpu":
        recovery.wait_until_busy(context, target)
    processes = context.processes(workers)
    say(f"{fault.name}: {fault.action}, at {at} …")
    began = producer.now()
    parked = inject(fault, context, target, placement)
    ended = recovery.wait_until_over(fault, context, placement, target, processes.get(target), began)
    say(f"{fault.name}: over after {ended - began:.0f} s; waiting for {len(affected)} worker(s) to begin tasks again …")
    seconds = recovery.wait_for_recovery(context, affected, ended, fault.kills is not None)
    say(f"{fault.name}: " + (f"back after {seconds:.1f} s" if seconds is not None else "not back"))
    producer.send_for(before)
    processes_now = context.processes(workers)
    producer.stop()
    say(f"waiting for what was sent (at most {patience:.0f} s without any news) …")
    producer.wait_until_finished(patience)
    entries = producer.entries()
    return FaultOutcome(
        fault=fault,
        at=at,
        seconds=ended - began,
        recovery=seconds,
        begun_again=recovery.seconds_until_all_begun_again(entries, began),
        restarted=tuple(sorted(str(worker) for worker, pid in processes_now.items() if processes.get(worker) != pid)),
        parked=parked,
        lease=context.plan.lease,
        visibility_timeout=context.plan.visibility_timeout,
        silence=silence_of(context.plan),
        account=ledger.account(producer.sent, entries),
    )
