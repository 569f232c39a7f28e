"""Which run a question is about, and what is answered."""

import json
from typing import Any, cast

import pytest

from fleet.rollout import history
from fleet.rollout.history import HistoryEntry, HostRecord, StepRecord, UnitRecord
from fleet.rollout.hooks import HookRun

OLD = cast(
    "HistoryEntry",
    json.loads(
        '{"who": "ops@control", "pid": 7, "at": "2026-11-20T09:00:00Z", "what": "deploy.py", "outcome": "failed",'
        ' "seconds": 12.5, "planned": ["web1:web@1"], "releases": {"3.11": "4f3a"}, "app": "shop.app"}'
    ),
)


def entry(**values: Any) -> HistoryEntry:
    base: dict[str, Any] = {"who": "ops@control", "pid": 8, "at": "2026-11-21T16:52:07Z", "what": "deploy.py"}
    return cast("HistoryEntry", base | values)


def host(
    ok: bool = True,
    put_back: bool = False,
    notes: tuple[str, ...] = (),
    units: dict[str, UnitRecord] | None = None,
    seconds: dict[str, float] | None = None,
) -> HostRecord:
    state = "put back" if put_back else "new" if ok else "untouched"
    known: dict[str, UnitRecord] = {"celery-web@1.service": {"state": state, "drain": None}}
    return {
        "ok": ok,
        "put_back": put_back,
        "notes": list(notes),
        "seconds": seconds or {},
        "units": known if units is None else units,
    }


def step(number: int, hosts: dict[str, HostRecord], canary: bool = False) -> StepRecord:
    return {"number": number, "canary": canary, "instances": [f"{name}:web@1" for name in hosts], "hosts": hosts}


DONE = entry(outcome="done", seconds=40.0, steps=[step(1, {"web1": host()})], errors=[])
FAILED = entry(
    outcome="failed",
    seconds=82.3,
    releases={"3.11": "4f3a"},
    app="shop.app",
    planned=["web1:web@1", "web2:web@1", "web3:web@1", "web4:web@1"],
    errors=[],
    steps=[
        step(
            1,
            {
                "web1": host(
                    units={"celery-web@1.service": {"state": "new", "drain": "drained in 2.5 s"}},
                    seconds={"look": 0.5, "restart": 12.0, "gate": 30.0},
                )
            },
            canary=True,
        ),
        step(
            2,
            {
                "web2": host(put_back=True, notes=("a slow start",)),
                "web3": host(
                    ok=False, put_back=True, notes=("web-worker-1 does not answer\nthe end of its journal:", "put back")
                ),
            },
        ),
    ],
)


def test_the_users_own_commands() -> None:
    before: HookRun = {"name": "before_rollout", "host": "web1", "code": 0, "seconds": 3.5, "lines": ["migrated"]}
    after: HookRun = {"name": "after_rollout", "host": "web1", "code": 2, "seconds": 1.0, "lines": ["no route", "gave up"]}
    run = entry(outcome="failed", steps=[], hooks=[before, after])
    assert history.explain(run)[-3:] == [
        "on web1: before_rollout: done in 3.5 s",
        "on web1: after_rollout failed with exit code 2: gave up",
        "no step began",
    ]
    assert history.explain_failure(run)[1:4] == ["after_rollout on web1 printed last:", "  no route", "  gave up"]


def test_which_run() -> None:
    assert history.last([]) is None
    assert history.last([OLD, DONE]) is DONE
    assert history.last_failed([]) is None
    assert history.last_failed([DONE]) is None
    assert history.last_failed([OLD, FAILED, DONE]) is FAILED
    assert history.last_failed([OLD, DONE]) is OLD


@pytest.mark.parametrize(
    ("run", "well"),
    [
        (DONE, True),
        (entry(outcome="done"), True),
        (entry(outcome="done", errors=["web1: no space left"]), False),
        (entry(outcome="done", steps=[step(1, {"web1": host(put_back=True)})]), False),
        (entry(outcome="interrupted"), False),
        (entry(outcome="killed"), False),
        (FAILED, False),
        (OLD, False),
    ],
)
def test_what_ended_well(run: HistoryEntry, well: bool) -> None:
    assert history.ended_well(run) is well


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (host(), "ok"),
        (host(ok=False, put_back=True), "put back"),
        (host(ok=True, put_back=True), "put back"),
        (host(ok=False, units={"celery-web@1.service": {"state": "down", "drain": None}}), "down"),
        (host(ok=False, units={}), "contact lost"),
        (host(ok=False), "untouched"),
    ],
)
def test_how_a_step_went_on_a_host(record: HostRecord, verdict: str) -> None:
    assert history.verdict(record) == verdict


def test_a_run_step_by_step() -> None:
    assert history.explain(FAILED) == [
        "2026-11-21T16:52:07Z  deploy.py by ops@control: failed after 82.3 s",
        "release 4f3a of shop.app",
        "step 1 (canary): web1:web@1",
        "  web1: ok, 42.5 s (looked 0.5 s, drained and started 12 s, watched 30 s)",
        "    celery-web@1.service: drained in 2.5 s",
        "step 2: web2:web@1 web3:web@1",
        "  web2: put back",
        "  web3: put back",
        "not reached: web4:web@1",
    ]


def test_why_a_run_failed() -> None:
    assert history.explain_failure(FAILED) == [
        "2026-11-21T16:52:07Z  deploy.py by ops@control: failed after 82.3 s",
        "release 4f3a of shop.app",
        "step 2 failed: web2:web@1 web3:web@1",
        "  web3: put back",
        "    web-worker-1 does not answer",
        "    the end of its journal:",
        "    put back",
        "  web2: put back, because the step failed on another host",
        "    a slow start",
    ]


def test_why_a_run_failed_outside_a_step() -> None:
    run = entry(outcome="failed", errors=["web1: the release does not build\nno such package"], steps=[])
    assert history.explain_failure(run)[1:] == ["error: web1: the release does not build", "  no such package", "no step began"]


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (OLD, "its steps were not recorded: an earlier version of celery-fleet wrote this entry"),
        (entry(outcome="killed"), "its steps were not recorded: the run was killed, and fleet unlock removed its lock"),
        (entry(outcome="interrupted", steps=[step(1, {"web1": host()})]), "no recorded step failed"),
    ],
)
def test_a_run_of_which_less_is_recorded(run: HistoryEntry, line: str) -> None:
    assert history.explain_failure(run)[-1] == line


def test_steps_that_did_not_begin() -> None:
    waiting: StepRecord = {"number": 2, "canary": False, "instances": ["web2:web@1"], "hosts": {}}
    interrupted = entry(outcome="interrupted", planned=["web1:web@1", "web2:web@1"], steps=[step(1, {"web1": host()}), waiting])
    assert history.explain(interrupted)[-1] == "not reached: web2:web@1"
    assert history.explain(entry(outcome="failed", steps=[waiting]))[-2:] == ["not reached: web2:web@1", "no step began"]


def test_a_host_that_went_down_with_its_step_is_named() -> None:
    down = host(units={"celery-web@1.service": {"state": "down", "drain": None}})
    run = entry(outcome="failed", steps=[step(1, {"web1": host(ok=False, put_back=True), "web2": down})])
    assert history.explain_failure(run)[-1] == "  web2: down, because the step failed on another host"


def test_a_run_in_one_line() -> None:
    assert history.summary(OLD) == (
        "2026-11-20T09:00:00Z  failed       deploy.py by ops@control, 12.5 s, release 4f3a, to restart web1:web@1"
    )
    assert history.summary(entry(drill=True)) == "2026-11-21T16:52:07Z  ?            deploy.py (a drill) by ops@control"
