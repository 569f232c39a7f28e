"""What `fleet top` makes of what was learnt: the worst first, slots, and what it keeps of the last minutes."""

from dataclasses import replace
from typing import Any

import pytest

from fleet.broker.ages import Age, QueueAge
from fleet.observe.broker import BrokerReport
from fleet.observe.findings import BROKEN, LATE, NOTE, Finding, Pause, paused_queues
from fleet.observe.machine import Machine, Unit
from fleet.observe.queues import Queue, Sample
from fleet.observe.records import parse_records
from fleet.observe.rows import Drift, QueueRow, Records, WorkerRow
from fleet.observe.slots import Slots, slots_of, usual
from fleet.observe.top import Look, Reading, look_of
from fleet.observe.trend import FAULT, KEPT, RUN, Condition, Mark, QueuePoint, Trend, column, faults, runs
from fleet.observe.workers import WorkerLoad
from fleet.plan.facts import MachineFacts
from tests.unit.fleet.observe.test_states import sign
from tests.unit.fleet.observe.test_workers import WORKER
from tests.unit.fleet_support import fleet_of, plan_of

pytestmark = pytest.mark.usefixtures("app_folder")
WEB = {"queues": ["default"], "concurrency": 4, "instances": 1, "time_limit": 100, "min_consumers": 1}
NODES = ("web-worker-1@web1", "web-worker-1@web2")
DONE: Any = {"who": "ops", "pid": 1, "at": "2026-11-29T12:00:00Z", "what": "deploy.py", "outcome": "done"}
QUIET = Queue("default", {0: 0}, None, 0, 0, 0, 0, None, 0.0, 0.0, 2, 2, 1, 0)


def reading(*answering: str, waiting: int = 0, oldest: Age | None = None, unit: Unit | None = None, **changed: Any) -> Reading:
    """Two machines with a worker each; of the workers, some answer."""
    plan = plan_of(fleet_of({"web": WEB}))
    unit = unit or Unit("active", "running", process="S", memory=100 << 20, memory_max=400 << 20)
    facts = MachineFacts(4, 8 << 30)
    machines = {host: Machine(host, facts, 6 << 30, 0.5, True, {"celery-web@1.service": unit}) for host in ("web1", "web2")}
    signs = {node: sign(node=node, slots=4) for node in answering}
    sample = Sample(1000.0, signs, {"default": QueueAge({0: waiting}, oldest, 0.0)})
    known = Reading(
        plan,
        machines=machines,
        ages=dict.fromkeys(machines, 2.0),
        broker=BrokerReport(signs, waiting={"default": waiting}),
        sample=sample,
        broker_age=1.0,
        records_age=1.0,
    )
    return replace(known, **changed)


def records(**changed: Any) -> Records:
    entry: Any = {**DONE, **changed}
    return Records("", (entry,))


def look(known: Reading, objective: float | None = 10.0) -> Look:
    return look_of(known, {"default": objective} if objective else {}, "inventory/prod.py")


def found(known: Reading) -> list[Finding]:
    return list(look(known).findings)


def test_nothing_is_wrong() -> None:
    whole = look(reading(*NODES))
    assert (whole.findings, whole.is_whole) == ((), True)
    assert [(row.load.state, row.slots.idle) for row in whole.workers] == [("idle", 4), ("idle", 4)]
    assert (whole.roles[0].well, whole.roles[0].releases) == (2, {"r": 2})
    first = whole.machines[0]
    assert (first.host, first.memory, first.memory_max) == ("web1", 100 << 20, 400 << 20)


def test_what_nobody_has_been_asked_for_is_not_well() -> None:
    for unasked in (Reading(plan_of(fleet_of({"web": WEB}))), reading(*NODES, ages={"web1": 1.0}), reading(broker=None)):
        assert not look(unasked).is_whole
        assert look(unasked).findings == ()


def test_who_has_not_been_asked_yet_is_not_said_to_be_silent() -> None:
    first = look(Reading(plan_of(fleet_of({"web": WEB}))))
    assert {row.load.why for row in first.workers} == {"its machine has not answered yet"}
    assert not any(source.problem for source in first.sources)


@pytest.mark.parametrize(
    ("oldest", "began", "running", "expected"),
    [
        # Between two tasks of a worker with one slot, it looks free: what to do does not change by that.
        (70.0, 60, [1, 0], [(LATE, "the oldest waits 70s, and may wait 1m", "raise concurrency or instances of web_worker")]),
        (70.0, 60, [0, 0], [(LATE, "the oldest waits 70s, and may wait 1m", "raise concurrency or instances of web_worker")]),
        (70.0, 0, [0, 0], [(LATE, "the oldest waits 70s, and may wait 1m", "ask again")]),
        (
            130.0,
            60,
            [1, 1],
            [(LATE, "the oldest waits 130s", "raise"), (LATE, "2 of 2 slots are busy and 9 tasks wait", "raise")],
        ),
        (5.0, 60, [1, 1], [(NOTE, "2 of 2 slots are busy and 9 tasks wait", "raise concurrency")]),
    ],
)
def test_what_to_do_for_a_queue_whose_workers_are_busy(
    oldest: float, began: int, running: list[int], expected: list[tuple[int, str, str]]
) -> None:
    def sample(at: float, started: int) -> Sample:
        tasks: Any = [{"task": "a", "queue": "default", "started": started}]
        signs = {
            node: sign(node=node, slots=1, running={"a": 1} if number else {}, tasks=tasks)
            for node, number in zip(NODES, running, strict=True)
        }
        return Sample(at, signs, {"default": QueueAge({0: 9}, Age(oldest, oldest + 1), 0.0)})

    now = sample(1000.0, began)
    known = reading(sample=now, before=sample(990.0, 0), broker=BrokerReport(now.answers, waiting={"default": 9}))
    known = replace(known, plan=plan_of(fleet_of({"web": {**WEB, "concurrency": 1}})))
    lines = list(look(known, 120.0 if oldest > 100 else 60.0).findings)
    assert len(lines) >= len(expected)
    for line, (level, evidence, step) in zip(lines, expected, strict=False):
        assert line.level == level
        assert evidence in line.evidence
        assert line.step.startswith(step)


DEAD = Unit("failed", result="oom-kill", restarts=4)


@pytest.mark.parametrize(
    ("known", "worst"),
    [
        (
            lambda: reading(*NODES, waiting=7, oldest=Age(30.0, 31.0)),
            (LATE, "default: the oldest waits 30s, and may wait 10s", "fleet load inventory/prod.py"),
        ),
        (
            lambda: reading(waiting=7, oldest=Age(30.0, 31.0), unit=DEAD),
            (
                BROKEN,
                "web-worker-1@web1 is dead: killed for memory, 4 restarts",
                "on web1: journalctl -u celery-web@1.service -n 50",
            ),
        ),
        (
            lambda: reading(broker=None, sample=None, broker_age=None, broker_problem="the broker does not answer: refused"),
            (
                BROKEN,
                "the broker does not answer: refused",
                "fleet status inventory/prod.py; on its machine: journalctl -n 50 -u redis-server -u rabbitmq-server",
            ),
        ),
        (
            lambda: reading(*NODES, broker_age=60.0, broker_problem="the broker does not answer: gone"),
            (
                BROKEN,
                "the broker does not answer: gone",
                "fleet status inventory/prod.py; on its machine: journalctl -n 50 -u redis-server -u rabbitmq-server",
            ),
        ),
        (
            lambda: reading(*NODES, silent={"web1": "timed out"}, machines={}),
            (BROKEN, "web1 does not answer: timed out", "ssh web1"),
        ),
        (
            lambda: reading(*NODES, records=records(outcome="failed")),
            (NOTE, "the last run did not end well: deploy.py, failed", "fleet history inventory/prod.py --why"),
        ),
        (lambda: reading(*NODES, records=records(paused={"default": True})), None),
    ],
)
def test_the_worst_comes_first(known: Any, worst: Finding | None) -> None:
    lines = found(known())
    assert (lines[0] if lines else None) == worst


def test_a_queue_without_consumers_and_one_that_is_paused() -> None:
    nobody = {node: sign(node=node, slots=4, queues=[]) for node in NODES}
    known = reading(*NODES, waiting=5)
    known = replace(known, broker=BrokerReport(nobody), sample=replace(known.sample, answers=nobody) if known.sample else None)
    assert (
        BROKEN,
        "default: 5 tasks wait, and 0 workers consume it, at least 1 should",
        "fleet load inventory/prod.py",
    ) in found(known)
    assert found(known)[0][1].startswith("web-worker-1@web1 is ghost")
    known = replace(known, records=records(paused={"default": True}))
    assert [finding[0] for finding in found(known)] == [NOTE]
    assert found(known)[0][1] == "default is paused by ops since 2026-11-29T12:00:00Z"
    assert look(known).queues[0].paused
    assert look(known).could_consume("default") == list(NODES)
    later = {node: sign(node=node, slots=4, queues=[], started_at=1795953700.0) for node in NODES}
    since = replace(known, sample=replace(known.sample, answers=later) if known.sample else None)
    assert not look(since).queues[0].paused, "workers that have started since consume it"


@pytest.mark.parametrize(
    ("answered", "asked", "evidence"),
    [
        (3.0, 4.0, None),  # its machine was asked before: it may have been restarted
        (3.0, 1.0, "web-worker-1@web2 is unknown: it runs, and does not answer"),
        (3.0, 30.0, "web-worker-1@web2 is unknown: it runs, and does not answer"),  # its machine hangs
        (None, 4.0, "web-worker-1@web2 is unknown: it runs, and does not answer"),
    ],
)
def test_a_worker_that_has_just_ceased_to_answer(answered: float | None, asked: float, evidence: str | None) -> None:
    known = reading(NODES[0], answered={} if answered is None else {NODES[1]: answered}, ages={"web1": asked, "web2": asked})
    whole = look(known)
    assert whole.workers[1].load.state == "unknown"
    urgent = [finding.evidence for finding in whole.findings if finding.level == BROKEN]
    assert urgent == ([evidence] if evidence else [])


def test_whom_a_drain_leaves_short() -> None:
    both, one = look(reading(*NODES)), look(reading(NODES[0]))
    assert (both.consumers_of("default"), both.short_without(both.workers[0])) == (list(NODES), [])
    assert one.short_without(one.workers[0]) == ["default"]


def test_what_is_paused_until_it_is_resumed() -> None:
    entries: list[Any] = [{**DONE, "paused": {"a": True, "b": True}}, DONE, {**DONE, "paused": {"a": False}}]
    assert paused_queues(entries) == {"b": Pause(1795953600.0, "by ops since 2026-11-29T12:00:00Z")}


def test_old_answers_are_said_to_be_old() -> None:
    whole = look(reading(*NODES, broker_age=60.0, broker_problem="the broker does not answer"))
    assert whole.source("broker").is_old
    assert not whole.source("machines").is_old
    assert [row.load.state for row in whole.workers] == ["unknown", "unknown"], "what they said a minute ago is not true any more"
    assert [row.slots.unknown for row in whole.workers] == [4, 4]


def test_who_looks_seldom_takes_nothing_for_old() -> None:
    whole = look(reading(*NODES, broker_age=59.0, interval=60.0))
    assert (whole.source("broker").is_old, whole.findings) == (False, ())


def test_drift_and_lock_are_there() -> None:
    held = '{"who": "ops@desk", "pid": 1, "at": "2026-11-29T12:00:00Z", "what": "deploy.py"}'
    whole = look(reading(*NODES, records=Records(held), drift=Drift({"web1": ["restart x"]}, {}, 3), drift_age=5.0))
    assert whole.holder.startswith("deploy.py by ops@desk (process 1) holds the lock")
    assert whole.drift and whole.drift.differing == {"web1": ["restart x"]}


def busy(**changed: Any) -> WorkerLoad:
    return replace(WORKER, running={"t": 3}, **changed)


@pytest.mark.parametrize(
    ("worker", "begun", "slots"),
    [
        (busy(), {"t": [995, 998, 999]}, Slots(0, 0, 3, 1, 0, {"t": 5.0})),
        (busy(), {"t": [910, 950, 999]}, Slots(1, 1, 1, 1, 0, {"t": 90.0})),
        (busy(), {"other": [950]}, Slots(0, 0, 3, 1, 0, {"other": 50.0})),
        (busy(), None, Slots(0, 0, 3, 1, 0, {})),
        (busy(state="stopped"), {"t": [910]}, Slots(0, 0, 0, 0, 4, {})),
        (replace(WORKER, state="dead", running={}), None, Slots(0, 0, 0, 0, 4, {})),
        (replace(WORKER, state="ghost", running={}), {}, Slots(0, 0, 0, 4, 0, {})),
    ],
)
def test_slots(worker: WorkerLoad, begun: Any, slots: Slots) -> None:
    """A task is usually done in 30 s, and may take 100 s."""
    own = sign(begun=begun) if begun is not None else sign()
    assert slots_of(worker, own, 1000.0, {"t": 30.0}, 100.0) == slots


def test_how_long_tasks_usually_take() -> None:
    """99 of 100, over all workers; of a task of which too few are known, nothing is said."""
    short = {"task": "short", "queue": "q", "runtime": [1.0, 0, 0, 0, 0, 90]}
    one = sign(tasks=[short, {"task": "rare", "queue": "q", "runtime": [1.0, 9]}])
    other = sign(tasks=[{"task": "short", "queue": "q", "runtime": [1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]}])
    assert usual([one, other]) == {"short": 10.0}


def test_who_is_silent_for_longest_is_on_top() -> None:
    rows = [
        WorkerRow(replace(WORKER, heard_s=ages), Slots(0, 0, 0, 4, 0)) for ages in ({"sign": None}, {"sign": 5.0, "systemd": 2.0})
    ]
    assert [row.silence for row in rows] == [float("inf"), 2.0]


def test_the_share_of_an_objective() -> None:
    waits = replace(QUIET, by_priority={0: 3}, oldest=Age(14.0, 16.0))
    assert [QueueRow(waits, 10.0).share, QueueRow(QUIET, 10.0).share, QueueRow(waits, None).share] == [1.45, 0.0, None]
    unserved = QueueRow(replace(QUIET, name="a", consumers=0), None)
    assert sorted([QueueRow(QUIET, None), QueueRow(waits, 10.0), unserved], key=lambda row: row.rank)[:2] == [
        unserved,
        QueueRow(waits, 10.0),
    ]


def test_fifteen_minutes_are_kept() -> None:
    waits = replace(QUIET, by_priority={0: 3}, oldest=Age(4.0, 6.0), out_s=2.0)
    kept = Trend().plus(0.0, [QUIET], ["old"]).plus(1000.0, [waits], ["web1 does not answer"])
    assert kept.points == ((1000.0, {"default": QueuePoint(3, 4.5, 2.0)}),)
    assert kept.faults == (Mark(1000.0, FAULT, "web1 does not answer"),)
    later = kept.plus(1000.0 + KEPT / 2, [QUIET], [])
    line = later.line("default", lambda point: point.waiting, 1000.0 + KEPT / 2, 4)
    assert line == [None, None, 3, 0]
    assert later.line("unknown", lambda point: point.waiting, 2000.0, 2) == [None, None]


def test_where_a_moment_is_drawn() -> None:
    assert [column(at, KEPT, 9) for at in (-1.0, 0.0, KEPT / 2, KEPT, KEPT + 1)] == [None, 0, 4, 8, None]


def test_faults_are_what_has_changed() -> None:
    first = Condition({"w1": "dead"}, "", frozenset(), {"web1": 2})
    assert faults(None, first) == [], "nobody knows when that happened"
    now = Condition({"w1": "dead", "w2": "stopped"}, "the broker does not answer", frozenset({"web2"}), {"web1": 3, "web2": 9})
    assert faults(first, now) == [
        "the broker does not answer",
        "w2 is stopped",
        "web2 does not answer",
        "web1: 1 killed for memory",
    ]
    assert faults(now, first) == [], "what is well again is no fault"


def test_runs_are_marks() -> None:
    at = 1795953600.0  # 2026-11-29T12:00:00Z
    entries: list[Any] = [DONE, {**DONE, "at": "nonsense"}]
    assert runs(entries, at + 60) == [Mark(at, RUN, "deploy.py by ops: done")]
    assert runs(entries, at + KEPT + 1) == []


def test_what_the_machine_of_the_broker_says_of_runs() -> None:
    lines = ["", 'lock\t{"who": "ops"}', 'run\t{"what": "deploy.py"}', "run\tnonsense", "run\t[]", "end"]
    assert parse_records(lines) == Records('{"who": "ops"}', ({"what": "deploy.py"},))  # type: ignore[typeddict-item]
    assert parse_records(["lock\t", "end"]) == Records()
