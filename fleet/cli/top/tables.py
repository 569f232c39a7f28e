"""What the tables of `fleet top` show: rows of a Look as cells, how they are sorted, and which of them a filter leaves. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from fleet.broker.ages import Age
from fleet.cli.top.glyphs import BUSY, IDLE, NEAR, OVER, UNKNOWN, bar, cells
from fleet.observe.rows import MachineRow, QueueRow, WorkerRow
from fleet.observe.top import Look
from fleet.plan.sizing import mib
from fleet.spec.text import printable, short, span

BAD, WARN, GOOD, DIM = "bold red", "yellow", "green", "dim"
STATES = {
    "idle": GOOD,
    "busy": GOOD,
    "draining": "cyan",
    "starting": "cyan",
    "out": WARN,
}
"""State → style; others are BAD."""


@dataclass(frozen=True)
class Table:
    """heads: of its columns. rows: of a look. key: names a row. cells: of a row, for a width of the screen. words: what a filter
    looks in. sorts: name → key to sort by; the first is the one to begin with. gap: spaces between columns."""

    heads: tuple[str, ...]
    rows: Callable[[Look], Sequence[Any]]
    key: Callable[[Any], str]
    cells: Callable[[Any, int], list[Text]]
    words: Callable[[Any], str]
    sorts: dict[str, Callable[[Any], Any]]
    gap: int = 2

    def shown(self, look: Look, sort: str, words: str) -> list[Any]:
        """The rows of a look, filtered and sorted."""
        left = [row for row in self.rows(look) if all(word in self.words(row).lower() for word in words.lower().split())]
        return sorted(left, key=self.sorts[sort])


def named(name: str) -> str:
    """A name of others in a cell: one line, and not endless."""
    return short(printable(name))


def _queue(row: QueueRow, _: int) -> list[Text]:
    queue = row.queue
    grave = BAD if not queue.is_served and not row.paused else WARN if row.paused or (row.share or 0) > 1 else ""
    empty = (
        "paused" if row.paused else "-" if not queue.waiting else "never" if queue.drained_s is None else span(queue.drained_s)
    )
    consumers = f"{queue.consumers}/{queue.expected} min {queue.minimum}"
    return [
        Text(named(queue.name), grave or "bold"),
        Text(str(queue.waiting), "bold" if queue.waiting else DIM, justify="right"),
        Text(_priorities(queue.by_priority)),
        Text(age(queue.oldest) if queue.is_aged or not queue.waiting else "?", WARN if (row.share or 0) > 1 else ""),
        _objective(row),
        _rate(queue.in_s),
        _rate(queue.out_s),
        Text(empty, WARN if row.paused else ""),
        Text(consumers, grave),
    ]


def _priorities(numbers: Any) -> str:
    apart = {priority: number for priority, number in numbers.items() if number}
    return "" if set(apart) <= {0} else " ".join(f"{priority}:{number}" for priority, number in sorted(apart.items()))


def _objective(row: QueueRow) -> Text:
    """How much of its objective the oldest task has waited."""
    if row.share is None or row.objective is None:
        return Text("")
    full, rest = bar(row.share, 5)
    style = BAD if row.share > 1 else WARN if row.share > 0.8 else GOOD
    return Text.assemble((full, style), (rest, DIM), f" {'over' if row.share > 1 else 'of'} {span(row.objective)}")


def age(known: Age | None) -> str:
    """How long a task waits, with its bound."""
    if known is None:
        return "-"
    if known.most is None:
        return f">{span(known.least)}"
    middle, bound = (known.least + known.most) / 2, (known.most - known.least) / 2
    return span(middle) + (f"±{span(bound)}" if bound >= 1 else "")


def _rate(number: float | None) -> Text:
    return Text("-" if number is None else f"{number:.1f}" if number < 100 else f"{number:.0f}", justify="right")


def _worker(row: WorkerRow, width: int) -> list[Text]:
    load = row.load
    style = STATES.get(load.state, BAD)
    why = load.why if load.expected else "no setting asks for it"
    if load.is_well and row.slots.longest:
        task, seconds = max(row.slots.longest.items(), key=lambda item: item[1])
        why = why or f"{named(task.rpartition('.')[2])} {span(seconds)}"
    return [
        Text(named(load.node), "bold" if load.is_well else BAD),
        Text(load.state, style),
        slots(row, 24 if width >= 110 else 10),
        Text(f"{load.active}/{load.slots}", justify="right"),
        Text("/".join("-" if known is None else f"{known:.0f}" for known in load.heard_s.values())),
        Text("-" if load.memory is None else mib(load.memory) + (f"/{mib(load.memory_max)}" if load.memory_max else "")),
        Text(why, DIM if load.is_well else style),
    ]


def slots(row: WorkerRow, width: int) -> Text:
    """A cell a slot; if there are more slots than cells, a cell stands for several."""
    drawn = row.slots
    numbers = (
        (NEAR, drawn.near),
        (OVER, drawn.over),
        (BUSY, drawn.busy),
        (IDLE, drawn.idle),
        (UNKNOWN, drawn.unknown),
    )
    styles = {NEAR: BAD, OVER: WARN, BUSY: GOOD, IDLE: DIM, UNKNOWN: BAD}
    return Text.assemble(*((glyph * number, styles[glyph]) for glyph, number in cells(numbers, width)))


def _flight(row: QueueRow, _: int) -> list[Text]:
    queue = row.queue
    back = "-" if not queue.orphaned else f"in {span(queue.back_s)}" if queue.back_s is not None else "not by itself"
    numbers = (queue.running, queue.prefetched, queue.eta)
    return [
        Text(named(queue.name), "bold"),
        *(Text(str(number), "" if number else DIM, justify="right") for number in numbers),
        Text("?" if queue.orphaned is None else str(queue.orphaned), BAD if queue.orphaned else DIM, justify="right"),
        Text(back, WARN if queue.orphaned else DIM),
        Text(str(queue.dead_letters), WARN if queue.dead_letters else DIM, justify="right"),
    ]


def _machine(row: MachineRow, _: int) -> list[Text]:
    machine = row.machine
    name = Text(row.host, BAD if row.why else "bold")
    if machine is None:
        return [name, Text(row.why or "not asked yet", BAD if row.why else DIM), *(Text("") for _ in range(6))]
    used = machine.facts.memory - machine.available
    full, rest = bar(used / machine.facts.memory, 5)
    loaded = WARN if machine.load > 2 * machine.facts.cores else ""
    pressure = "/".join(f"{machine.pressure[kind]:.0f}" if kind in machine.pressure else "-" for kind in ("cpu", "memory", "io"))
    cap = f"{size(row.memory)}/{size(row.memory_max)}" if row.memory_max else "-"
    return [
        name,
        Text.assemble(
            (full, WARN if used > 0.9 * machine.facts.memory else GOOD),
            (rest, DIM),
            f" {size(used)}/{size(machine.facts.memory)}",
        ),
        Text(cap),
        Text(f"{machine.load:.1f}/{machine.facts.cores}", loaded),
        Text(pressure, WARN if any(share > 20 for share in machine.pressure.values()) else ""),
        Text(str(machine.oom_kills), WARN if machine.oom_kills else DIM, justify="right"),
        Text(_devices(machine)),
        Text("-" if row.age is None else span(row.age), BAD if row.why else DIM),
    ]


def size(number: float) -> str:
    """Bytes, short."""
    return (
        f"{number / (1 << 30):.0f}G"
        if number >= 10 << 30
        else f"{number / (1 << 30):.1f}G"
        if number >= 1 << 30
        else mib(int(number))
    )


def _devices(machine: Any) -> str:
    return str(machine.facts.gpus) if machine.facts.gpus else "-"


QUEUES = Table(
    heads=("QUEUE", "WAIT", "PRIORITY", "OLDEST", "OBJECTIVE", "IN/s", "OUT/s", "EMPTY", "CONSUMERS"),
    rows=lambda look: look.queues,
    key=lambda row: row.queue.name,
    cells=_queue,
    words=lambda row: f"{row.queue.name} {'paused' if row.paused else ''}",
    sorts={
        "worst": lambda row: row.rank,
        "name": lambda row: row.queue.name,
        "waiting": lambda row: -row.queue.waiting,
        "oldest": lambda row: -(row.queue.oldest.seconds if row.queue.oldest else -1.0),
    },
    gap=1,
)
WORKERS = Table(
    heads=("WORKER", "STATE", "SLOTS", "BUSY", "HEARD s", "MEMORY", "WHY"),
    rows=lambda look: look.workers,
    key=lambda row: row.load.node,
    cells=_worker,
    words=lambda row: " ".join((row.load.node, row.load.state, row.load.role, row.load.host, *row.load.queues, row.load.release)),
    sorts={
        "worst": lambda row: (row.load.is_well, -row.silence, -row.slots.near, -row.slots.over, row.load.node),
        "name": lambda row: row.load.node,
        "busy": lambda row: -row.load.utilisation,
        "memory": lambda row: -(row.load.memory or 0),
    },
)
FLIGHT = Table(
    heads=("QUEUE", "RUNNING", "FETCHED", "ETA", "ORPHANED", "BACK", "DEAD"),
    rows=lambda look: look.queues,
    key=lambda row: row.queue.name,
    cells=_flight,
    words=lambda row: row.queue.name,
    sorts={
        "worst": lambda row: (-(row.queue.orphaned or 0), -row.queue.dead_letters, -row.queue.running, row.queue.name),
        "name": lambda row: row.queue.name,
    },
)
MACHINES = Table(
    heads=("MACHINE", "MEMORY", "OF CAP", "LOAD", "PRESSURE", "OOM", "GPU", "HEARD"),
    gap=1,
    rows=lambda look: look.machines,
    key=lambda row: row.host,
    cells=_machine,
    words=lambda row: " ".join((row.host, *row.roles)),
    sorts={
        "worst": lambda row: (not row.why, -(row.machine.load if row.machine else 0.0)),
        "name": lambda row: row.host,
        "memory": lambda row: row.machine.available if row.machine else 0,
    },
)
