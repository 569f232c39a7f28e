"""A plan in words, as a table and as JSON. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleet.capacity import need
from fleet.capacity import resources as resources_
from fleet.capacity.forecast import Forecast
from fleet.capacity.planned import Planned, Variant
from fleet.spec.text import count, table_lines

BAR = 40
"""Width of the longest bar."""


def lines(name: str, part: Planned | str, variants: Sequence[Variant]) -> Iterator[str]:
    """name: of the roles; empty without a fleet. part: their plan, or why there is none."""
    if isinstance(part, str):
        yield f"{name}: not planned: {part}"
        return
    if name:
        yield f"{name}:"
    shown = [*reasons(part), "", *_chart(part)]
    if variants:
        shown += ["", *_variants(part, variants)]
    if station := part.station:
        shown += ["", f"{count(part.lacks, 'worker')} more, {part.lacks * station.memory >> 20} MB" if part.lacks else "enough"]
    yield from (f"  {line}".rstrip() if name else line for line in shown)


def reasons(part: Planned) -> Iterator[str]:
    """The steps from the demand to what it takes."""
    yield from part.notes
    yield from need.explain(part.question, part.answer)
    if part.station and part.taken:
        yield from resources_.explain(part.station, part.taken, part.answer.workers)


def _chart(part: Planned) -> list[str]:
    """The wait with more workers and with fewer, as a table with bars."""
    share = part.question.share
    numbers = {"enough": part.answer.serving}
    if part.question.headroom:
        numbers["with headroom"] = part.answer.workers
    if part.station:
        numbers["now"] = part.station.workers
    curve = need.curve(part.question, part.answer, numbers.get("now"))
    longest = max((of.waits[share] for of in curve if of.utilisation < 1), default=0.0)
    rows = []
    for of in curve:
        bar = "█" * math.ceil(BAR * of.waits[share] / longest) if of.utilisation < 1 and longest else ""
        labels = ", ".join(name for name, number in numbers.items() if number == of.layout.workers)
        rows.append((str(of.layout.workers), f"{of.utilisation:.0%}", need.wait(of, share), bar, labels))
    return table_lines(("WORKERS", "BUSY", f"{share:.0%} WAIT", "", ""), rows)


def _variants(part: Planned, variants: Sequence[Variant]) -> list[str]:
    there = need.forecast_of(part.question, part.there) if part.there else None
    rows = [("as it is", *_row(part, there)), *((of.change.text, *_row(of.planned, of.there)) for of in variants)]
    problems = [
        f"{of.change.text}: {problem}" for of in variants if of.planned.station for problem in of.planned.station.problems
    ]
    return [*table_lines(("WHAT IF", "WORKERS", "BUSY", f"{part.question.share:.0%} WAIT", "NEEDED"), rows), *problems]


def _row(part: Planned, there: Forecast | None) -> tuple[str, str, str, str]:
    needed = f"{part.answer.workers} of {part.question.concurrency}"
    if there is None:
        return "0", "", "", needed
    workers = f"{there.layout.workers} of {there.layout.concurrency}"
    return workers, f"{there.utilisation:.0%}", need.wait(there, part.question.share), needed


def as_json(plans: Mapping[str, Planned | str], variants: Mapping[str, Sequence[Variant]]) -> dict[str, Any]:
    """Of a load without a fleet, its plan; of a fleet, `roles` → the plan of each."""
    if "" in plans:
        return _plan(plans[""], variants.get("", ()))
    return {"roles": {name: _plan(part, variants.get(name, ())) for name, part in plans.items()}}


def _plan(part: Planned | str, variants: Sequence[Variant]) -> dict[str, Any]:
    if isinstance(part, str):
        return {"not_planned": part}
    question, answer, station, taken = part.question, part.answer, part.station, part.taken
    result = {
        "slots": answer.slots,
        "workers": answer.workers,
        "load": round(question.demand.load, 4),
        "rate": question.demand.rate,
        "service_time_s": round(question.demand.service, 6),
        "spread": round(question.demand.spread, 4),
        "serving": _forecast(answer.enough),
        "one_fewer": _forecast(answer.fewer) if answer.fewer else None,
        "reasons": list(reasons(part)),
    }
    if station:
        result |= {"now": _now(part), "lacks": part.lacks}
    if taken:
        result |= {"machines": taken.machines, "memory_bytes": taken.memory, "connections": taken.connections}
        result |= {"commands_s": None if taken.commands is None else round(taken.commands, 1)}
    result["curve"] = [_forecast(of) for of in need.curve(question, answer, station.workers if station else None)]
    if variants:
        result["what_if"] = {
            of.change.text: {
                "there": _forecast(of.there) if of.there else None,
                "workers": of.planned.answer.workers,
                "concurrency": of.planned.question.concurrency,
                "problems": list(of.planned.station.problems) if of.planned.station else [],
            }
            for of in variants
        }
    return result


def _now(part: Planned) -> dict[str, Any] | None:
    return _forecast(need.forecast_of(part.question, part.there)) if part.there else None


def _forecast(of: Forecast) -> dict[str, Any]:
    keeps_up = of.utilisation < 1
    return {
        "workers": of.layout.workers,
        "slots": of.layout.slots,
        "utilisation": round(of.utilisation, 4),
        "mean_wait_s": round(of.mean, 4) if keeps_up else None,
        "waits_s": {f"{share:g}": round(wait, 4) if keeps_up else None for share, wait in of.waits.items()},
    }
