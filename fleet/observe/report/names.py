"""Names of queues, workers and tasks as a page may show them: they are others' words. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fleet.observe.report.timeline import Timeline
from fleet.spec.text import printable, short


def clean(name: str) -> str:
    """A name on the page: no control characters, none that turn text around, and not endless."""
    return short(printable(name), 120)


def cleaned(timeline: Timeline) -> Timeline:
    """With names that can be shown, and its marks in order."""
    queues = _unique(timeline.queues)
    marks = [replace(mark, text=short(printable(mark.text), 300)) for mark in timeline.marks]
    return replace(
        timeline,
        source=clean(timeline.source),
        queues={queues[name]: series for name, series in timeline.queues.items()},
        roles={name: timeline.roles[old] for old, name in _unique(timeline.roles).items()},
        workers={
            name: replace(timeline.workers[old], role=clean(timeline.workers[old].role))
            for old, name in _unique(timeline.workers).items()
        },
        objectives={queues[name]: seconds for name, seconds in timeline.objectives.items() if name in queues},
        marks=tuple(sorted(marks, key=lambda mark: mark.at)),
        failures=tuple(replace(of, task=clean(of.task), exception=clean(of.exception)) for of in timeline.failures),
        notes=tuple(short(printable(note), 300) for note in timeline.notes),
    )


def _unique(names: Iterable[str]) -> dict[str, str]:
    """Name → as it is shown. Two that look alike are told apart by a number."""
    shown: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        label, number = clean(name), 1
        while label in taken:
            number += 1
            label = f"{clean(name)} ({number})"
        taken.add(label)
        shown[name] = label
    return shown
