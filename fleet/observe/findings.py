"""What is wrong with a fleet at one moment, the worst first, each with its evidence and the command to run next. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from fleet.observe.advice import Advice, advices, look_at, more_slots, tasks_wait
from fleet.observe.rows import QueueRow, Records, WorkerRow
from fleet.observe.workers import Load
from fleet.rollout import history, lock
from fleet.rollout.history import HistoryEntry
from fleet.spec.text import apart, count, span

BROKEN, LATE, NOTE = 0, 1, 2
"""Something does not work; tasks wait too long, or soon will; what is good to know."""


class Finding(NamedTuple):
    """level: BROKEN, LATE or NOTE. evidence: what is so. step: what to run or to look at; empty if there is nothing to do."""

    level: int
    evidence: str
    step: str = ""


def findings(
    load: Load, queues: Sequence[QueueRow], workers: Iterable[WorkerRow], records: Records, inventory: str
) -> list[Finding]:
    """All of them, the worst first. load: as it is to be judged. inventory: its path, for commands."""
    paused = {row.queue.name: row.paused for row in queues if row.paused}
    advice = advices(load, inventory)
    lines = [
        *(_of_broker(entry, inventory) for entry in advice if entry.evidence == load.problem),
        # A worker's state is why a queue has no consumer: the first link of the chain comes first.
        *(Finding(BROKEN, entry.evidence, entry.step) for entry in advice if entry.urgent and entry.evidence != load.problem),
        *(found for row in queues for found in _of_queue(row, _step_for(row, load, advice), inventory)),
        *(
            Finding(BROKEN, f"{host} does not answer: {why}", f"ssh {host}")
            for host, why in load.silent.items()
            if all(worker.is_well for worker in load.workers if worker.host == host)
        ),
        *(Finding(NOTE, f"{queue} is paused {words}", "P on the queue resumes it") for queue, words in paused.items()),
        *(Finding(_level(entry, load, queues), entry.evidence, entry.step) for entry in advice if not entry.urgent),
        *_of_slots(workers),
        *_of_records(records, inventory),
    ]
    return sorted(lines, key=lambda found: found.level)


def _of_broker(entry: Advice, inventory: str) -> Finding:
    return Finding(
        BROKEN,
        entry.evidence,
        entry.step or f"fleet status {inventory}; on its machine: journalctl -n 50 -u redis-server -u rabbitmq-server",
    )


def _level(entry: Advice, load: Load, queues: Iterable[QueueRow]) -> int:
    """Tasks that wait are late, unless all of them wait within their objectives."""
    if "wait" not in entry.evidence:
        return NOTE
    names = {queue for role in load.roles if entry.evidence.startswith(f"{role.role}: ") for queue in role.queues}
    waiting = [row for row in queues if row.queue.name in names and row.queue.waiting]
    return NOTE if waiting and all(row.share is not None and row.share <= 1 for row in waiting) else LATE


def _step_for(row: QueueRow, load: Load, advice: Iterable[Advice]) -> str:
    """What the advice to a role that consumes the queue says to do; empty if it says nothing. While tasks begin, a free slot of a
    worker is free only for the moment between two tasks."""
    roles = [role for role in load.roles if row.queue.name in role.queues]
    full = next((role for role in roles if role.well and role.slots - role.active <= role.well), None)
    if full and row.queue.out_s:
        return more_slots(full.role)
    starts = tuple(f"{role.role}: " for role in roles)
    return next((entry.step for entry in advice if entry.evidence.startswith(starts)), "")


def _of_queue(row: QueueRow, step: str, inventory: str) -> Iterable[Finding]:
    """step: what to do if tasks wait too long."""
    queue = row.queue
    if not queue.is_served and not row.paused:
        wait = f"{tasks_wait(queue.waiting)}, and " if queue.waiting else ""
        least = max(queue.minimum, 1)
        consumers = count(queue.consumers, "worker consumes", "workers consume")
        yield Finding(
            BROKEN,
            f"{queue.name}: {wait}{consumers} it, at least {least} should",
            f"fleet load {inventory}",
        )
    if queue.orphaned:
        back = f"are back in {span(queue.back_s)}" if queue.back_s is not None else "do not come back by themselves"
        yield Finding(LATE, f"{queue.name}: {count(queue.orphaned, 'task')} of silent workers {back}")
    if row.objective and row.share and row.share > 1 and queue.oldest:
        empty = "never empty at this rate" if queue.drained_s is None else f"empty in {span(queue.drained_s)}"
        rates = "" if queue.in_s is None else f"; {queue.in_s:.1f}/s come, {queue.out_s:.1f}/s begin, {empty}"
        waits, may = apart(queue.oldest.seconds, row.objective)
        yield Finding(
            LATE,
            f"{queue.name}: the oldest waits {waits}, and may wait {may}{rates}",
            step or f"fleet load {inventory}",
        )
    if queue.dead_letters:
        yield Finding(NOTE, f"{queue.name}: {count(queue.dead_letters, 'dead letter')}", f"fleet parked list {inventory}")


def _of_slots(workers: Iterable[WorkerRow]) -> Iterable[Finding]:
    for row in workers:
        if row.slots.near and row.limit:
            tasks = count(row.slots.near, "task")
            yield Finding(
                LATE,
                f"{row.load.node}: {tasks} near the limit of {span(row.limit)}",
                look_at(row.load),
            )


def _of_records(records: Records, inventory: str) -> Iterable[Finding]:
    if records.held and lock.is_gone(records.held):
        yield Finding(LATE, lock.explain(records.held, inventory).rpartition(": ")[0], f"fleet unlock {inventory}")
    last = history.last(records.entries)
    if last and not records.held and not history.ended_well(last):
        yield Finding(
            NOTE, f"the last run did not end well: {last.get('what')}, {last.get('outcome')}", f"fleet history {inventory} --why"
        )


def idle_by_pause(load: Load, paused: Collection[str]) -> set[str]:
    """Workers that consume nothing since all queues of their role are paused."""
    roles = {role.role for role in load.roles if role.queues and set(role.queues) <= set(paused)}
    return {worker.node for worker in load.workers if worker.state == "ghost" and worker.role in roles}


def forgiven(load: Load, nodes: Collection[str]) -> Load:
    """The load with these workers as idle ones."""
    workers = tuple(replace(worker, state="idle") if worker.node in nodes else worker for worker in load.workers)
    well = Counter(worker.role for worker in workers if worker.expected and worker.is_well)
    return replace(load, workers=workers, roles=tuple(replace(role, well=well[role.role]) for role in load.roles))


class Pause(NamedTuple):
    """at: seconds since 1970. words: by whom and since when."""

    at: float
    words: str


def paused_queues(entries: Iterable[HistoryEntry]) -> dict[str, Pause]:
    """Queue → its pause, of queues whose last action in the history was to pause them."""
    paused: dict[str, Pause] = {}
    for entry in entries:
        for queue, is_paused in entry.get("paused", {}).items():
            if is_paused:
                paused[queue] = Pause(history.began(entry) or 0.0, f"by {entry.get('who')} since {entry.get('at')}")
            else:
                paused.pop(queue, None)
    return paused
