"""`fleet drill kill-beat`: the beat that leads is killed, and each run of an entry that is due every second is accounted for."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fleet.broker import beat
from fleet.drill import faults
from fleet.drill.errors import DrillError
from fleet.state.paths import BEAT_UNIT
from fleet_node.protocol import BEAT_DRILL, BEAT_DRILL_ENTRY, BEAT_LOCK, BEAT_RUN, BEAT_RUNS, DRILL_TTL

if TYPE_CHECKING:
    from redis import Redis

    from fleet.drill.context import Say

WITHIN = 30.0
"""Seconds within which another has to lead."""
PATIENCE = 90.0
"""Seconds to wait for another to lead."""
BEGIN = 20.0
"""Seconds in which the leader begins to send the drill's entry. It looks for a drill every five seconds."""
FEWEST = 3
"""Runs before and after the kill, at least."""


@dataclass(frozen=True)
class BeatOutcome:
    """killed, leader: nodes that led before and after; leader is empty if none did. seconds: from the kill until another led.

    sent: runs of the entry in the queue. problems: those that are skipped or doubled, in words. longest: seconds between two of
    them, which is the gap that the kill made. counted: whether there was such an entry.
    """

    killed: str
    leader: str
    seconds: float
    sent: int = 0
    longest: float = 0.0
    counted: bool = True
    problems: tuple[str, ...] = field(default_factory=tuple)

    @property
    def all_problems(self) -> list[str]:
        """What did not go as it should, in words."""
        late = "nobody led" if not self.leader else f"another led after {self.seconds:.1f} s"
        return [
            *([f"{late}, and should within {WITHIN:.0f} s"] if not self.leader or self.seconds > WITHIN else []),
            *self.problems,
        ]

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "drill": "kill-beat",
            "killed": self.killed,
            "leader": self.leader or None,
            "led_after_s": round(self.seconds, 1),
            "led_within_s": WITHIN,
            "sent": self.sent if self.counted else None,
            "longest_gap_s": round(self.longest, 1) if self.counted else None,
            "went_wrong": "; ".join(self.all_problems) or None,
        }


def kill_command(alone: bool) -> str:
    """sh that kills the beat of a machine. alone: whether no other one could take over: then systemd starts it again at once.
    Otherwise it stays away for a while, as if its machine had died."""
    kill = f"systemctl kill --kill-whom=all --signal=KILL {BEAT_UNIT}"
    return kill if alone else faults.for_a_while(f"{kill}; systemctl stop {BEAT_UNIT}", f"systemctl start {BEAT_UNIT}")


def judge(runs: Sequence[Mapping[str, Any]]) -> tuple[list[str], float]:
    """(what is skipped or doubled, in words; the longest time between two runs). runs: in the order in which they were sent.

    Each run stands for the time from the run before it to itself: the whole of the drill has to be covered, and nothing twice.
    """
    problems = []
    for early, late in pairwise(runs):
        ended, begun = _at(early["last_run_at"]), _at(late["after"])
        if begun > ended:
            problems.append(f"skipped: nothing was sent for what was due from {early['last_run_at']} to {late['after']}")
        elif begun < ended:
            problems.append(f"doubled: what was due from {late['after']} to {early['last_run_at']} was sent twice")
        elif late["total_run_count"] != early["total_run_count"] + 1:
            problems.append(f"run {late['total_run_count']} follows run {early['total_run_count']}")
    return problems, max(((_at(run["last_run_at"]) - _at(run["after"])).total_seconds() for run in runs), default=0.0)


def run(broker: Redis, prefix: str, kill: Callable[[str], None], say: Say, before: float) -> BeatOutcome:
    """Announce the entry, kill who leads, wait for another, and account. kill: ends a node's beat. before: seconds before the
    kill, and after it. Raises DrillError."""
    killed = beat.read(broker, prefix).leader
    if not killed:
        raise DrillError("no beat leads: see fleet status")
    drill = uuid.uuid4().hex[:8]
    if not broker.set(f"{prefix}{BEAT_DRILL}", drill, ex=DRILL_TTL, nx=True):
        raise DrillError("another drill of beat goes on, or was cut off within five minutes")
    try:
        counted = _until(lambda: len(_runs(broker, prefix)) >= FEWEST, BEGIN)
        if not counted:
            say("its scheduler does not take the drill's entry: only the takeover is measured")
        time.sleep(before)
        say(f"kill-beat: kill {killed} (SIGKILL) …")
        token, leader, began = _token(broker, prefix), "", time.monotonic()
        kill(killed)

        def another() -> bool:
            nonlocal leader
            now = _token(broker, prefix)
            leader = now.rsplit("|", 4)[0] if now and now != token else ""
            return bool(leader)

        _until(another, PATIENCE)
        seconds = time.monotonic() - began
        say(f"kill-beat: {leader} leads after {seconds:.1f} s" if leader else "kill-beat: nobody leads")
        number = len(_runs(broker, prefix))
        if counted and leader:
            _until(lambda: len(_runs(broker, prefix)) >= number + FEWEST, BEGIN)
        time.sleep(before)
        broker.delete(f"{prefix}{BEAT_DRILL}")
        _until(lambda: not broker.hexists(f"{prefix}{BEAT_RUNS}", BEAT_DRILL_ENTRY), BEGIN)
        runs = _runs(broker, prefix)
        problems, longest = judge(runs)
        return BeatOutcome(killed, leader, seconds, len(runs), longest, counted, tuple(problems))
    finally:
        bindings = (f"{prefix}_kombu.{kind}.{BEAT_DRILL_ENTRY}" for kind in ("binding", "binding_permanent"))
        broker.delete(f"{prefix}{BEAT_DRILL}", *bindings, *_lists(broker, prefix))


def _token(broker: Redis, prefix: str) -> str:
    return str(broker.get(f"{prefix}{BEAT_LOCK}") or "")


def _lists(broker: Redis, prefix: str) -> list[str]:
    """The lists of the drill's queue, one a priority."""
    return [key for key in broker.scan_iter(f"{prefix}{BEAT_DRILL_ENTRY}*", count=1000) if broker.type(key) == "list"]


def _runs(broker: Redis, prefix: str) -> list[dict[str, Any]]:
    """The runs that were sent, the first first."""
    texts = [text for name in _lists(broker, prefix) for text in reversed(broker.lrange(name, 0, -1))]
    return [json.loads(text)["headers"][BEAT_RUN] for text in texts]


def _until(what: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.2)
    return what()


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
