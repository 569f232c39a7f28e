"""What all workers have counted since the exporter first saw the fleet. Pure.

A worker counts from its start, and its counts go with it. Here they are added up by task, queue and machine, so that they never
go back. Most of them would be lost for Prometheus' increase() if a series began with its first count: it begins at zero, and has
its value in the reading after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fleet_node.protocol import OTHER, RUNTIME_BUCKETS, WAIT_BUCKETS, TaskCounts, WorkerSign

COUNTS = ("received", "started", "succeeded", "retried", "revoked", "rejected")
MOST = 1000
"""Pairs of task, queue and machine that are counted by themselves, of some 50 series each. If there are more, machines are not
told apart any more; if there are still more, further tasks are counted together."""
GENERIC = "generic"
"""The machine of what is counted without it. celery-exporter's word."""
FORGOTTEN = 900.0
"""Seconds after which a worker that has gone is forgotten."""
STALE = 600.0
"""Seconds after which what was kept on disk is only where counting goes on: the work since then would look like a peak."""


class Key(NamedTuple):
    """What is counted apart."""

    task: str
    queue: str
    machine: str


class Counts:
    """The counts of one key. runtime, wait: the sum in seconds, then the number in each bucket and above."""

    def __init__(self) -> None:
        self.numbers: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.runtime: list[float] = [0.0] * (len(RUNTIME_BUCKETS) + 2)
        self.wait: list[float] = [0.0] * (len(WAIT_BUCKETS) + 2)

    def add(self, now: TaskCounts, before: TaskCounts) -> None:
        """Add what has come since."""
        for name in COUNTS:
            self.numbers[name] += int(_more(_number(now, name), _number(before, name)))
        earlier = before.get("failed", {})
        for exception, number in now.get("failed", {}).items():
            self.failed[exception] += int(_more(number, earlier.get(exception, 0)))
        _add(self.runtime, now.get("runtime", []), before.get("runtime", []))
        _add(self.wait, now.get("wait", []), before.get("wait", []))

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"numbers": self.numbers, "failed": self.failed, "runtime": self.runtime, "wait": self.wait}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Counts:
        """Of what `plain` gave."""
        counts = cls()
        counts.numbers.update(plain["numbers"])
        counts.failed.update(plain["failed"])
        _add(counts.runtime, plain["runtime"], [])
        _add(counts.wait, plain["wait"], [])
        return counts


class Totals:
    """Of the whole fleet."""

    def __init__(self) -> None:
        self.folded = False
        """Whether machines are not told apart."""
        self._counts: dict[Key, Counts] = {}
        self._born: set[tuple[Key, str]] = set()
        """Keys that were shown, and their exceptions."""
        self._workers: dict[str, tuple[float, dict[tuple[str, str], TaskCounts]]] = {}
        """Holder → when it was last there, and what it had counted then."""
        self._first = True

    def take(self, signs: Mapping[str, WorkerSign], now: float) -> None:
        """Count what workers have counted since the last time. signs: by holder. now: Redis's time in seconds.

        The first time, it is only noted what they have counted so far."""
        for holder, sign in signs.items():
            entries = {(entry["task"], entry["queue"]): entry for entry in sign.get("tasks", ())}
            _, before = self._workers.get(holder, (now, entries if self._first else {}))
            for (task, queue), entry in entries.items():
                earlier = before.get((task, queue))
                self._of(task, queue, sign["node"].rpartition("@")[2]).add(entry, earlier or _NOTHING)
            self._workers[holder] = (now, entries)
        self._first = False
        for holder, (seen, _) in list(self._workers.items()):
            if now - seen > FORGOTTEN:
                del self._workers[holder]

    def _of(self, task: str, queue: str, machine: str) -> Counts:
        key = Key(task, queue, GENERIC if self.folded else machine)
        if key not in self._counts and len(self._counts) >= MOST:
            if not self.folded:
                self.folded = True
                self._counts.clear()
                self._born.clear()
                key = Key(task, queue, GENERIC)
            else:
                key = Key(OTHER, OTHER, GENERIC)
        return self._counts.setdefault(key, Counts())

    def rows(self) -> Iterator[tuple[Key, Counts]]:
        """Each key and its counts, to be shown: zeros the first time that a key is shown, or an exception of it."""
        for key, counts in list(self._counts.items()):
            if (key, "") not in self._born:
                self._born.add((key, ""))
                self._born.update((key, exception) for exception in counts.failed)
                yield key, _zero(counts)
                continue
            shown = Counts.of(counts.plain())
            for exception in counts.failed:
                if (key, exception) not in self._born:
                    self._born.add((key, exception))
                    shown.failed[exception] = 0
            yield key, shown

    def plain(self, now: float) -> dict[str, Any]:
        """All of it as JSON has it, to go on after a restart."""
        return {
            "at": now,
            "folded": self.folded,
            "counts": [[*key, counts.plain()] for key, counts in self._counts.items()],
            "workers": [[holder, seen, list(entries.values())] for holder, (seen, entries) in self._workers.items()],
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any], now: float) -> Totals:
        """Of what `plain` gave. Raises KeyError, TypeError and ValueError if it is something else."""
        totals = cls()
        totals.folded = bool(plain["folded"])
        for task, queue, machine, counts in plain["counts"]:
            key = Key(task, queue, machine)
            totals._counts[key] = Counts.of(counts)
            totals._born.update([(key, ""), *((key, exception) for exception in counts["failed"])])
        if now - plain["at"] <= STALE:
            totals._first = False
            totals._workers = {
                holder: (seen, {(entry["task"], entry["queue"]): entry for entry in entries})
                for holder, seen, entries in plain["workers"]
            }
        return totals


_NOTHING: TaskCounts = {}


def _number(entry: TaskCounts, name: str) -> int:
    number: Any = entry.get(name, 0)
    return int(number)


def _more(now: float, before: float) -> float:
    """What has come since; nothing of a count that is older than the last one."""
    return max(0, now - before)


def _add(total: list[float], now: list[float], before: list[float]) -> None:
    """Add to a histogram what has come since. Shorter lists end with zeros."""
    for index, value in enumerate(now[: len(total)]):
        total[index] += _more(value, before[index] if index < len(before) else 0.0)


def _zero(counts: Counts) -> Counts:
    zero = Counts()
    zero.failed.update(dict.fromkeys(counts.failed, 0))
    return zero
