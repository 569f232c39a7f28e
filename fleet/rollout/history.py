"""Which run of the history a question is about, and that run in lines for people: how its steps went, or why it failed. Pure.

An entry is one JSON line of history.jsonl on the broker's machine (`fleet.rollout.lock`). Entries that earlier versions wrote
have neither `errors` nor `steps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NotRequired, TypedDict

from fleet.rollout.hooks import HookRun, summarize


class UnitRecord(TypedDict):
    """One systemd unit in a step. state: what it is now, e.g. "new" or "put back". drain: one line about its drain."""

    state: str
    drain: str | None


class HostRecord(TypedDict):
    """One host in a step. notes: the step's own messages, the reason of a failure first; one may have many lines.

    put_back: whether the old files and release were brought back. seconds: by phase. units: empty if contact was lost.
    """

    ok: bool
    put_back: bool
    notes: list[str]
    seconds: dict[str, float]
    units: dict[str, UnitRecord]


class StepRecord(TypedDict):
    """One step. number: from 1. instances: as in "web1:web@1". hosts: by name; empty if the step did not begin."""

    number: int
    canary: bool
    instances: list[str]
    hosts: dict[str, HostRecord]


class HistoryEntry(TypedDict):
    """One run. at: when it began, in UTC. releases: id by Python version. outcome: done, failed, interrupted or killed.

    drill: whether a drill started the run. seconds: how long it took. planned: the instances that were to restart.
    errors: why the run failed outside a step. hooks: the user's own commands that ran on machines. notes: what a run
    without steps did, in lines. paused: queue → whether the run paused it, or let it go on.
    """

    who: str
    pid: int
    at: str
    what: str
    releases: NotRequired[dict[str, str]]
    app: NotRequired[str]
    drill: NotRequired[bool]
    outcome: NotRequired[str]
    seconds: NotRequired[float]
    planned: NotRequired[list[str]]
    errors: NotRequired[list[str]]
    steps: NotRequired[list[StepRecord]]
    notes: NotRequired[list[str]]
    hooks: NotRequired[list[HookRun]]
    paused: NotRequired[dict[str, bool]]


PHASES: Mapping[str, str] = {
    "look": "looked",
    "surge": "started others",
    "restart": "drained and started",
    "gate": "watched",
}
"""What a step does on a host, in order: its key in `seconds`, and its name for people."""


def began(entry: HistoryEntry) -> float | None:
    """When a run began, in seconds since 1970."""
    try:
        return datetime.strptime(str(entry.get("at")), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def last(entries: Sequence[HistoryEntry]) -> HistoryEntry | None:
    """The last run. entries: oldest first."""
    return entries[-1] if entries else None


def last_failed(entries: Sequence[HistoryEntry]) -> HistoryEntry | None:
    """The last run that did not end well. entries: oldest first."""
    return next((entry for entry in reversed(entries) if not ended_well(entry)), None)


def ended_well(entry: HistoryEntry) -> bool:
    """Whether the run is done, without an error and without a step that failed."""
    failed = any(is_failed(step) for step in entry.get("steps", []))
    return entry.get("outcome") == "done" and not entry.get("errors") and not failed


def is_failed(step: StepRecord) -> bool:
    """Whether the step failed, or was put back, on some host."""
    return any(verdict(host) != "ok" for host in step["hosts"].values())


def verdict(host: HostRecord) -> str:
    """How the step went on a host: "ok", "put back", "down", "contact lost" or "untouched"."""
    states = {unit["state"] for unit in host["units"].values()}
    if "down" in states:
        return "down"
    if not host["ok"] and not states:
        return "contact lost"
    if host["put_back"] or "put back" in states:
        return "put back"
    return "ok" if host["ok"] else "untouched"


def durations(seconds: Mapping[str, float]) -> str:
    """How long each phase of a step took on a host, e.g. "drained and started 12 s, watched 30 s"."""
    return ", ".join(f"{words} {seconds[name]:g} s" for name, words in PHASES.items() if seconds.get(name))


def summary(entry: HistoryEntry) -> str:
    """The run in one line."""
    planned = f", to restart {' '.join(entry['planned'])}" if entry.get("planned") else ""
    release = f", release {_release(entry)}" if entry.get("releases") else ""
    seconds = f", {entry['seconds']} s" if "seconds" in entry else ""
    return f"{entry.get('at')}  {entry.get('outcome', '?'):<11}  {_title(entry)}{seconds}{release}{planned}"


def explain(entry: HistoryEntry) -> list[str]:
    """The run, step by step: each host's verdict, how long it took and its drains."""
    lines = [*_head(entry), *_hooks(entry, "before_rollout")]
    for step in _begun(entry):
        lines.append(f"{_step(step)}: {' '.join(step['instances'])}")
        for name, host in step["hosts"].items():
            total = sum(host["seconds"].values())
            took = f", {total:.1f} s ({durations(host['seconds'])})" if total else ""
            lines.append(f"  {name}: {verdict(host)}{took}")
            lines += [f"    {unit}: {record['drain']}" for unit, record in host["units"].items() if record.get("drain")]
    reached = {instance for step in _begun(entry) for instance in step["instances"]}
    planned = [*entry.get("planned", []), *(instance for step in entry.get("steps", []) for instance in step["instances"])]
    not_reached = [instance for instance in dict.fromkeys(planned) if instance not in reached]
    if "steps" in entry and not_reached:
        lines.append(f"not reached: {' '.join(not_reached)}")
    return [*lines, *_hooks(entry, "after_rollout"), *_without_steps(entry), *_errors(entry)]


def explain_failure(entry: HistoryEntry) -> list[str]:
    """Why the run did not end well: its errors, and each failed step with all notes, hosts that failed themselves first."""
    lines = [*_head(entry), *_errors(entry)]
    for hook in entry.get("hooks", []):
        if hook["code"] != 0:
            lines += [f"{hook['name']} on {hook['host']} printed last:", *(f"  {line}" for line in hook["lines"])]
    failed = [step for step in entry.get("steps", []) if is_failed(step)]
    for step in failed:
        lines.append(f"{_step(step)} failed: {' '.join(step['instances'])}")
        for name, host in sorted(step["hosts"].items(), key=lambda item: item[1]["ok"]):
            state = verdict(host)
            if state == "ok":
                continue
            lines.append(f"  {name}: {state}" + (", because the step failed on another host" if host["ok"] else ""))
            lines += [f"    {line}" for note in host["notes"] for line in note.splitlines()]
    if not failed:
        lines += _without_steps(entry)
        if _begun(entry) and not entry.get("errors"):
            lines.append("no recorded step failed")
    return lines


def _title(entry: HistoryEntry) -> str:
    return f"{entry.get('what')}{' (a drill)' if entry.get('drill') else ''} by {entry.get('who')}"


def _release(entry: HistoryEntry) -> str:
    return "/".join(entry.get("releases", {}).values())


def _head(entry: HistoryEntry) -> list[str]:
    took = f" after {entry['seconds']:g} s" if "seconds" in entry else ""
    lines = [f"{entry.get('at')}  {_title(entry)}: {entry.get('outcome', 'outcome unknown')}{took}"]
    if entry.get("releases"):
        app = f" of {entry['app']}" if entry.get("app") else ""
        lines.append(f"release {_release(entry)}{app}")
    return lines


def _step(step: StepRecord) -> str:
    return f"step {step['number']}{' (canary)' if step['canary'] else ''}"


def _begun(entry: HistoryEntry) -> list[StepRecord]:
    """The steps that some host began."""
    return [step for step in entry.get("steps", []) if step["hosts"]]


def _errors(entry: HistoryEntry) -> Iterable[str]:
    for error in entry.get("errors", []):
        first, *others = error.splitlines() or [""]
        yield f"error: {first}"
        yield from (f"  {line}" for line in others)


def _hooks(entry: HistoryEntry, name: str) -> Iterable[str]:
    for hook in entry.get("hooks", []):
        if hook["name"] == name:
            yield f"on {hook['host']}: {summarize(hook)}"


def _without_steps(entry: HistoryEntry) -> list[str]:
    """Why there are no steps to show."""
    if _begun(entry):
        return []
    if entry.get("notes"):
        return entry["notes"]
    if entry.get("outcome") == "killed":
        return ["its steps were not recorded: the run was killed, and fleet unlock removed its lock"]
    if "steps" not in entry:
        return ["its steps were not recorded: an earlier version of celery-fleet wrote this entry"]
    return ["no step began"]
