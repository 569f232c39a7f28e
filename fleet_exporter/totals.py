"""What all workers have counted since the exporter first saw the fleet. Pure.

A worker counts from its start, and its counts go with it. Here they are added up by task, queue and machine, so that they never
go back. Most of them would be lost for Prometheus' increase() if a series began with its first count: it begins at zero, and has
its value in the reading after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fleet_exporter.entries import counts_of, label, number
from fleet_node.protocol import COUNTS, OTHER, RUNTIME_BUCKETS, WAIT_BUCKETS, TaskCounts, WorkerSign

MOST = 1000
"""Pairs of task, queue and machine that are counted by themselves, of some 50 series each. If there are more, machines are not
told apart any more; if there are still more, further tasks are counted together."""
GENERIC = "generic"
"""The machine of what is counted without it. celery-exporter's word."""
FORGOTTEN = 900.0
"""Seconds after which a worker that has gone is forgotten."""
STALE = 600.0
"""Seconds after which what was kept on disk is of no use: the work since then would look like a peak. Counters begin at zero
then, which Prometheus understands; if they went back by a little, it would take all that is left for new."""


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
        for exception, failed in now.get("failed", {}).items():
            self.failed[exception] += int(_more(failed, earlier.get(exception, 0)))
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
        """Process → when it was last there, and what it had counted then."""
        self._first = True

    def take(self, signs: Mapping[str, WorkerSign], now: float) -> None:
        """Count what workers have counted since the last time. signs: by holder. now: Redis's time in seconds.

        The first time, it is only noted what they have counted so far. So it is of a worker that has been there for long and is
        not known: it was away for so long that it was forgotten."""
        for holder, sign in signs.items():
            entries = {(entry["task"], entry["queue"]): entry for entry in sign.get("tasks", ())}
            is_old = self._first or now - sign["started_at"] > FORGOTTEN
            process = _process(holder)
            _, before = self._workers.get(process, (now, entries if is_old else {}))
            for (task, queue), entry in entries.items():
                earlier = before.get((task, queue), _NOTHING)
                self._of(task, queue, sign["node"].rpartition("@")[2]).add(entry, earlier)
                if _weight(earlier) > _weight(entry):
                    entries[task, queue] = earlier  # a Redis that was restored from an older copy
            self._workers[process] = (now, {**before, **entries})
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
        """Of what `plain` gave, if that is not old. Raises KeyError, TypeError and ValueError if it is something else."""
        totals = cls()
        if now - plain["at"] > STALE:
            return totals
        totals.folded = bool(plain["folded"])
        for task, queue, machine, counts in plain["counts"]:
            lists = {name: counts[name] for name in ("failed", "runtime", "wait")}
            checked = counts_of({"task": task, "queue": queue, **counts["numbers"], **lists})
            if checked is None:
                raise ValueError(f"a task {task!r} of a queue {queue!r}")
            key = Key(checked["task"], checked["queue"], label(machine))
            totals._counts[key] = Counts()
            totals._counts[key].add(checked, _NOTHING)
            totals._born.update([(key, ""), *((key, exception) for exception in checked["failed"])])
        totals._first = False
        for holder, seen, entries in plain["workers"]:
            known = [counts for entry in entries if (counts := counts_of(entry))]
            totals._workers[_process(str(holder))] = (number(seen), {(entry["task"], entry["queue"]): entry for entry in known})
        return totals


_NOTHING: TaskCounts = {}


def _process(holder: str) -> str:
    """A holder without its token. A worker that has lost its lease gets another token, and goes on counting from where it was."""
    parts = holder.rsplit("|", 4)
    return "|".join(parts[:4]) if len(parts) == 5 else holder


def _number(entry: TaskCounts, name: str) -> int:
    number: Any = entry.get(name, 0)
    return int(number)


def _weight(entry: TaskCounts) -> float:
    """All that was counted: an entry of the same worker that has less is older."""
    histograms = sum(entry.get("runtime", [])[1:]) + sum(entry.get("wait", [])[1:])
    return sum(_number(entry, name) for name in COUNTS) + sum(entry.get("failed", {}).values()) + histograms


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
