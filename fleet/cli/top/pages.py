"""What `fleet top` shows besides tables: the head, the verdict, fifteen minutes, releases, and one worker. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.text import Text

from fleet.cli.top.glyphs import ARROW, BUSY, DOT, IDLE, NEAR, OVER, UNKNOWN, spark
from fleet.cli.top.tables import BAD, DIM, GOOD, STATES, WARN, named, slots
from fleet.observe.advice import unit_of
from fleet.observe.findings import BROKEN, LATE
from fleet.observe.rows import Source, WorkerRow
from fleet.observe.top import Look
from fleet.observe.trend import FAULT, Mark, Trend, column, runs
from fleet.plan.sizing import mib
from fleet.rollout import history
from fleet.spec.text import count, printable, short, span

LEVELS = {BROKEN: ("BROKEN", BAD), LATE: ("LATE", WARN)}
DRIFT = 60
"""Characters of what a deploy would change on a machine."""
BEFORE, AFTER = 10, 6
"""Columns before and after a line of values."""


def head(look: Look | None, inventory: str, frozen: float | None) -> Text:
    """The first line: what is looked at, and how old each source is. frozen: seconds for which the screen has been paused."""
    line = Text.assemble(("fleet top ", "bold"), inventory, "  ")
    if look is None:
        return line.append("asking …", DIM)
    for source in look.sources[:3]:
        line.append_text(_freshness(source)).append("  ")
    if frozen is not None:
        line.append(f"PAUSED {span(frozen)} ago", "bold reverse")
    return line


def _freshness(source: Source) -> Text:
    known = "no answer" if source.age is None else f"{span(source.age)} old" if source.is_old else span(source.age)
    if source.name == "machines" and source.problem:
        known = source.problem
    if source.age is None and not source.problem:
        return Text(f"{source.name} asking", DIM)
    return Text.assemble((f"{source.name} ", DIM), (known, BAD if source.is_old or source.problem else GOOD))


def verdict(look: Look | None, width: int) -> Text:
    """What is worst, with its evidence, and the command to run next: two lines."""
    if look is None or not look.is_whole:
        return Text("asking the broker, the workers and the machines …\n", DIM)
    if not look.findings:
        working, there = sum(row.load.active for row in look.workers), sum(row.load.slots for row in look.workers)
        waiting = sum(row.queue.waiting for row in look.queues)
        summary = f"{count(len(look.workers), 'worker')}, {working} of {there} slots busy, {count(waiting, 'task')} waiting"
        return Text.assemble((f"{DOT} WELL  ", f"bold {GOOD}"), summary, "\n")
    worst, *others = look.findings
    name, style = LEVELS.get(worst.level, ("NOTE", "cyan"))
    more = f"  +{len(others)} more: v" if others else ""
    room = width - len(name) - 4 - len(more)
    evidence = short(printable(worst.evidence), max(1, room))
    line = Text.assemble((f"{DOT} {name}  ", style), (evidence, "bold"), (more, DIM), "\n")
    return line.append(f"  {ARROW} {printable(worst.step)}" if worst.step else "", "cyan")


def all_findings(look: Look) -> Text:
    """All that is found."""
    page = Text()
    for found in look.findings:
        name, style = LEVELS.get(found.level, ("NOTE", "cyan"))
        page.append(f"{DOT} {name:<7}", style).append(f"{printable(found.evidence)}\n")
        if found.step:
            page.append(f"    {ARROW} {found.step}\n", "cyan")
    return page if look.findings else Text("Nothing is wrong.")


def trend(look: Look, kept: Trend, now: float, width: int, words: str) -> Text:
    """Fifteen minutes of each queue, with what happened as marks. now: seconds since 1970."""
    columns = max(10, width - BEFORE - AFTER)
    page = Text(no_wrap=True)
    happened = sorted((*runs(look.entries, now), *kept.faults))
    marks = [" "] * columns
    for mark in happened:
        index = column(mark.at, now, columns)
        if index is not None and marks[index] != FAULT:
            marks[index] = mark.letter
    ago = "-15m" + "now".rjust(columns - 4)
    page.append(" " * BEFORE).append(ago + "\n", DIM)
    if happened:
        page.append("events".ljust(BEFORE)).append("".join(marks) + "\n", WARN)
    for row in look.queues:
        name = row.queue.name
        if any(word not in name.lower() for word in words.lower().split()):
            continue
        page.append(named(name) + "\n", "bold")
        lines = (
            ("waiting", kept.line(name, lambda point: point.waiting, now, columns), f"{row.queue.waiting}", "cyan"),
            (
                "oldest",
                kept.line(name, lambda point: point.oldest or 0.0, now, columns),
                span(row.queue.oldest.seconds)
                if row.queue.oldest
                else "-"
                if row.queue.is_aged or not row.queue.waiting
                else "?",
                WARN,
            ),
            (
                "out/s",
                kept.line(name, lambda point: point.out, now, columns),
                "-" if row.queue.out_s is None else f"{row.queue.out_s:.1f}",
                GOOD,
            ),
        )
        for label, values, last, style in lines:
            page.append(f" {label}".ljust(BEFORE), DIM).append(spark(values), style).append(f" {last}\n")
    page.append_text(_legend(happened, now))
    return page


def _legend(happened: list[Mark], now: float) -> Text:
    page = Text()
    for mark in reversed(happened[-6:]):
        page.append(f"{mark.letter} ", WARN).append(f"{span(now - mark.at)} ago ", DIM).append(f"{mark.text}\n")
    return page


def releases(look: Look) -> Text:
    """Release and drift by role, the run at work, and the last ones."""
    page = Text()
    for role in look.roles:
        one = len(role.releases) == 1
        page.append(f"{role.role:<8}", "bold").append(
            f"{role.well}/{role.workers} well  ", "" if role.well == role.workers else BAD
        )
        known = ", ".join(f"{number} × {release[:12]}" for release, number in sorted(role.releases.items()))
        page.append(f"{known or 'release not known'}\n", "" if one else WARN if known else DIM)
        for node in role.moving:
            page.append(f"  {ARROW} {node}\n", "cyan")
    page.append_text(_lock(look)).append_text(_drift(look))
    for entry in reversed(look.entries[-4:]):
        well = history.ended_well(entry)
        page.append(f"{_when(str(entry.get('at')))} ", DIM).append(f"{entry.get('outcome', '?')} ", GOOD if well else BAD)
        page.append(f"{entry.get('what')} by {entry.get('who')}\n")
    return page


def _lock(look: Look) -> Text:
    records = look.source("records")
    if records.problem or records.age is None:
        return Text.assemble(("lock    ", "bold"), (records.problem or "not asked yet", BAD if records.problem else DIM), "\n")
    return Text.assemble(("lock    ", "bold"), (look.holder or "free", WARN if look.holder else ""), "\n")


def _drift(look: Look) -> Text:
    page = Text.assemble(("drift   ", "bold"))
    if look.drift is None:
        return page.append(look.drift_problem or "comparing …", DIM).append("\n")
    checked = f" ({span(look.drift_age)} ago)" if look.drift_age is not None else ""
    differ = len(look.drift.differing) + len(look.drift.unknown)
    if not differ:
        return page.append("none, as your files ask", GOOD).append(f"{checked}\n", DIM)
    page.append(f"{differ} of {look.drift.hosts} machines", WARN).append(f"{checked}\n", DIM)
    for host, lines in (*look.drift.differing.items(), *((host, [why]) for host, why in look.drift.unknown.items())):
        more = f" +{len(lines) - 1}" if len(lines) > 1 else ""
        # A line may name every file of a machine: the runs below have to stay in sight. `fleet status` has all of it.
        first = lines[0] if len(lines[0]) <= DRIFT else f"{lines[0][: DRIFT - 1]}…"
        page.append(f"  {host}: {first}{more}\n")
    return page


def _when(at: str) -> str:
    try:
        return datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).strftime("%d %b %H:%M")
    except ValueError:
        return at


def worker(row: WorkerRow) -> Text:
    """All that is known of one worker."""
    load = row.load
    page = Text()
    for name, text in _facts(row):
        page.append(f"{name:<10}", DIM).append_text(text).append("\n")
    page.append("slots     ", DIM).append_text(slots(row, 50)).append("\n\n")
    page.append("tasks that run\n", "bold")
    for task, number in sorted(load.running.items(), key=lambda item: -item[1]):
        longest = f", the longest for {span(row.slots.longest[task])}" if task in row.slots.longest else ""
        page.append(f"  {number} × {named(task) or 'it does not say which'}{longest}\n")
    if not load.running:
        page.append("  none\n" if load.is_well else "  not known\n", DIM)
    return page


def _facts(row: WorkerRow) -> Iterator[tuple[str, Text]]:
    load = row.load
    yield "state", Text.assemble((load.state, STATES.get(load.state, BAD)), f"  {load.why}")
    yield ("pod", Text(load.host)) if load.kubectl else ("unit", Text(f"{unit_of(load.node)} on {load.host}"))
    ages = (f"{name} {'says nothing' if age is None else f'{span(age)} ago'}" for name, age in load.heard_s.items())
    yield "heard by", Text(", ".join(ages))
    yield "queues", Text(", ".join(load.queues) or ("none" if load.heard_s.get("sign") is not None else "not known"))
    yield "holds", Text(f"{load.active} running, {load.prefetched} fetched, {load.eta} with an ETA")
    yield "limit", Text(f"{span(row.limit)} a task" if row.limit else "not known")
    memory = "not known" if load.memory is None else mib(load.memory)
    yield "memory", Text(memory + (f" of {mib(load.memory_max)}" if load.memory_max else ""))
    yield "release", Text(load.release or "not known")
    up = "not known" if load.up_s is None else span(load.up_s)
    yield "up", Text(f"{up}, {count(load.restarts, 'restart')}")


def help_page(may_act: bool) -> Text:
    """Keys, and what the characters mean."""
    keys = (
        ("tab, 1-6", "next pane, or that pane"),
        ("enter", "a worker: all that is known of it; a queue: its workers"),
        ("/", "filter all panes by words; escape shows all again"),
        ("s", "sort by something else"),
        ("v", "all that is wrong, and what to run"),
        ("p, space", "stop the screen, and let it go on"),
        ("j", "the journal of a worker"),
        ("P", "pause a queue, or resume it" + ("" if may_act else " (needs --allow-actions)")),
        ("D", "drain a worker" + ("" if may_act else " (needs --allow-actions)")),
        ("q, ctrl+c", "quit"),
    )
    page = Text()
    for key, text in keys:
        page.append(f"{key:<11}", "bold").append(f"{text}\n")
    page.append("\nslots      ", "bold").append(
        f"{IDLE} idle  {BUSY} busy  {OVER} longer than 99 % of its name\n"
        f"           {NEAR} near its limit  {UNKNOWN} nobody knows\n"
    )
    page.append("heard      ", "bold").append("seconds since systemd/connection/worker spoke\n")
    page.append("pressure   ", "bold").append("percent of time waited for cpu/memory/io\n")
    page.append("events     ", "bold").append("R a run of the history began, ! something went wrong\n")
    return page
