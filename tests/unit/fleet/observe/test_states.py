"""What a worker is, by its witnesses."""

from dataclasses import replace
from typing import Any

import pytest

from fleet.observe.machine import Machine, Unit
from fleet.observe.states import WELL, WORDS, State, Witnesses, judge
from fleet.plan.facts import MachineFacts
from fleet_node.protocol import WorkerSign

SIGN: WorkerSign = {
    "node": "web-worker-1@web1",
    "at": 0.0,
    "started_at": 0.0,
    "release": "r",
    "revision": "v",
    "pool": "prefork",
    "slots": 4,
    "queues": ["default"],
    "running": {},
    "reserved": 0,
    "eta": 0,
    "held": {},
    "draining": False,
    "unavailable": "",
    "tasks": [],
}
HERE = Machine("web1", MachineFacts(2, 1 << 30), reaches_broker=True)
UP = Unit("active", "running", process="S", status="0/4 busy · 0 done · queues default")
SILENT = Witnesses(machine=HERE, unit=UP, sign=SIGN, sign_age=50.0, renewed=20.0, connected=20.0)


def sign(**changed: Any) -> WorkerSign:
    return {**SIGN, **changed}  # type: ignore[typeddict-item]


def unit(**changed: Any) -> Witnesses:
    return replace(SILENT, unit=replace(UP, **changed))


@pytest.mark.parametrize(
    ("seen", "state", "why"),
    [
        # It answers.
        (replace(SILENT, answer=SIGN), "idle", ""),
        (replace(SILENT, answer=sign(running={"t": 2})), "busy", ""),
        (replace(SILENT, answer=sign(draining=True, running={"t": 2})), "draining", "2 running"),
        (replace(unit(active="deactivating"), answer=SIGN), "draining", "0 running"),
        (replace(SILENT, answer=sign(unavailable="Xid 79", queues=[])), "out", "Xid 79"),
        (replace(SILENT, answer=sign(queues=[])), "ghost", "consumes no queue"),
        # It does not, and its machine does.
        (replace(SILENT, unit=None), "dead", "no such unit"),
        (unit(active="failed", result="oom-kill", restarts=4), "dead", "killed for memory, 4 restarts"),
        (unit(active="activating", sub="auto-restart", result="signal"), "dead", "killed by a signal, to be started again"),
        (unit(active="inactive", result="success", status=""), "dead", "stopped"),
        (unit(active="activating", sub="start", restarts=2), "starting", "2 restarts"),
        (unit(process="T"), "stopped", "SIGCONT"),
        (unit(active="deactivating", sub="stop", status="draining (Warm)"), "draining", ""),
        (unit(status="draining: 2 running, 0 reserved · 7 done"), "draining", "2 running"),
        (unit(status="its device is away (Xid 79) · 0/1 busy · 7 done"), "out", "Xid 79"),
        (replace(SILENT, machine=replace(HERE, reaches_broker=False)), "cut off", "cannot connect to the broker"),
        (unit(status="its broker is away · 0/4 busy · 7 done"), "cut off", "has lost the broker"),
        (unit(status="consumes nothing · 0/4 busy · 7 done"), "ghost", "consumes nothing"),
        (unit(status="2/4 busy · 7 done · queues default", signalled=30.0), "unknown", "it runs, and does not answer"),
        (unit(status="2/4 busy · 7 done · queues default", signalled=3.0), "busy", "it is slow to answer"),
        (replace(SILENT, sign=sign(running={"t": 1}), sign_age=3.0), "busy", "it is slow to answer"),
        (replace(unit(status="1/1 busy · 7 done · queues default"), sign=sign(pool="solo")), "busy", "main loop runs a task"),
        (replace(unit(status="0/1 busy · 7 done · queues default"), sign=sign(pool="solo")), "unknown", "0/1 busy"),
        (replace(unit(status=""), sign=None, sign_age=None), "unknown", "it runs, and does not answer"),
        # The broker does not answer.
        (replace(unit(status="2/4 busy · 7 done · queues default"), broker=False), "busy", ""),
        (replace(unit(status="0/4 busy · 7 done · queues default"), broker=False), "unknown", ""),
        # Nor does its machine.
        (Witnesses(silence="timed out", broker=False), "unknown", "neither its machine nor the broker answers (timed out)"),
        (Witnesses(silence="timed out", sign=SIGN, sign_age=55.0, renewed=31.0), "dead", "nothing was heard of it for 31 s"),
        (Witnesses(silence="timed out"), "dead", "has no lease"),
        (Witnesses(silence="timed out", sign=SIGN, sign_age=5.0, renewed=5.0), "unknown", "renewed 5 s ago"),
        (Witnesses(silence="no", sign=sign(pool="solo", running={"t": 1}), sign_age=5.0, renewed=5.0), "busy", ""),
    ],
)
def test_a_worker_is(seen: Witnesses, state: State, why: str) -> None:
    verdict = judge(seen)
    assert verdict.state == state
    assert why in verdict.why


def test_who_is_silent_is_never_idle() -> None:
    """Whatever else is known."""
    for status in ("", UP.status, "0/4 busy", "its broker is away · 0/4 busy"):
        for broker in (True, False):
            for age in (None, 0.0, 100.0):
                seen = Witnesses(None, HERE, "", replace(UP, status=status), SIGN, age, age, age, broker)
                assert judge(seen).state != "idle"


def test_each_state_has_words() -> None:
    assert set(WORDS) > WELL
    assert {judge(replace(SILENT, answer=SIGN)).state} <= set(WORDS)


def test_who_has_heard_of_it() -> None:
    assert SILENT.heard == {"systemd": 0.0, "connection": 20.0, "sign": 20.0}
    assert replace(SILENT, answer=SIGN).heard["sign"] == 0.0
    assert Witnesses().heard == {"systemd": None, "connection": None, "sign": None}
    assert unit(active="failed").heard["systemd"] is None
