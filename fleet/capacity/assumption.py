"""What a user assumes of tasks that nobody has measured, as `queue=web,rate=40,time=0.3,spread=2`. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.capacity.demand import Demand, Service
from fleet.capacity.need import NeedError
from fleet.spec.text import did_you_mean

EXAMPLE = "queue=web,rate=40,time=0.3,spread=2"


@dataclass(frozen=True)
class Assumption:
    """Tasks that come to a queue. queue: empty if there is no fleet. kind: with their rate as weight."""

    queue: str
    kind: Service


def fields_of(option: str, text: str, known: Iterable[str], example: str) -> dict[str, str]:
    """`name=value,name=value` → name → value. Raises NeedError that says what to write. option: whose value the text is."""
    fields: dict[str, str] = {}
    for part in text.split(","):
        name, is_given, value = part.strip().partition("=")
        if not is_given or name not in known or name in fields or not value:
            why = "is there twice" if name in fields else "is unknown" if name not in known else "has no value"
            raise NeedError(f"{option} {text}: {name or 'a name'} {why}; {did_you_mean(name, known) or f'write e.g. {example}'}")
        fields[name] = value
    return fields


def number_of(option: str, text: str, name: str, value: str) -> float:
    """A number that is not negative. Raises NeedError. option, text: as of fields_of()."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise NeedError(f"{option} {text}: {name}={value} is no number from 0 on")
    return number


def parse(text: str) -> Assumption:
    """Raises NeedError that says what to write. A queue to which nothing comes has rate=0, and no time."""
    fields = fields_of("--assume", text, ("queue", "rate", "time", "spread"), EXAMPLE)
    numbers = {name: number_of("--assume", text, name, value) for name, value in fields.items() if name != "queue"}
    missing = [name for name in ("rate", "time") if name not in numbers and (name == "rate" or numbers.get("rate"))]
    if missing:
        raise NeedError(f"--assume {text}: {' and '.join(missing)} missing; write e.g. {EXAMPLE}")
    return Assumption(fields.get("queue", ""), Service(numbers["rate"], numbers.get("time", 0.0), numbers.get("spread", 1.0)))


def check(assumptions: Sequence[Assumption], queues: Sequence[str]) -> None:
    """Raises NeedError if a queue is none of the fleet's."""
    for assumption in assumptions:
        if not assumption.queue:
            raise NeedError(f"--assume: of which queue? write e.g. {EXAMPLE}")
        if assumption.queue not in queues:
            nearest = did_you_mean(assumption.queue, queues) or f"there are {', '.join(sorted(queues))}"
            raise NeedError(f"--assume: no role consumes the queue {assumption.queue}; {nearest}")


def demand_of(assumptions: Sequence[Assumption], queues: Sequence[str], bursts: float) -> Demand | None:
    """What is assumed of some queues, which the same workers serve; None if nothing is. Raises NeedError if it is not of all of
    them, since the others' tasks would take slots too."""
    assumed = [assumption for assumption in assumptions if assumption.queue in queues]
    if not assumed:
        return None
    if left := [queue for queue in queues if queue not in {assumption.queue for assumption in assumed}]:
        raise NeedError(f"--assume: the same workers serve {', '.join(left)}: assume something of it, or queue={left[0]},rate=0")
    kinds = tuple(assumption.kind for assumption in assumed if assumption.kind.weight)
    if not kinds:
        raise NeedError(f"--assume: nothing comes to {', '.join(queues) or 'any queue'}: no worker is needed")
    return Demand(math.fsum(kind.weight for kind in kinds), kinds, bursts)
