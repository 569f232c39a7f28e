"""A step of a rollout on one machine, with real workers on a real Redis, under a steady load of tasks."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from fleet.drill.ledger import Account, Sent
from fleet.drill.releases import BROKEN
from fleet_node.protocol import StepRequest, StepResult
from fleet_node.step import gates, surge
from fleet_node.step.__main__ import alone
from fleet_node.step.errors import StepError
from fleet_node.step.snapshot import Snapshot
from fleet_node.step.step import Step
from tests.unit.process_support import Machine, machine, states


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as here:
        yield here


def run(here: Machine, request: StepRequest) -> StepResult:
    return Step(request, here, here.root, here.root / "var").run()


def drained(result: StepResult, number: int) -> str:
    """How the drain of a worker ended."""
    report = result["units"][f"celery-web@{number}.service"].get("drain")
    return report["outcome"] if report else "no report"


@contextmanager
def load(here: Machine, accounts: list[Account], every: float = 0.05) -> Iterator[None]:
    """Send a task every so many seconds while the context lasts; then wait until all tasks have ended, or none ends any more."""
    sent: list[Sent] = []
    over = Event()

    def send() -> None:
        with here.client() as client, here.redis() as redis:
            number = 0
            while not over.wait(every):
                number += 1
                seconds, micros = redis.time()
                sent.append(Sent(number, "io", "default", seconds + micros / 1e6))
                client.send_task(
                    "fleet.drill", ["r", number, "io", 0.05], queue="default", countdown=2 if number % 10 == 0 else None
                )

    sender = Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
    done = -1
    while len(sent) > (now := here.account("r", sent).finished) != done:
        done = now
        over.clear()
        over.wait(3)
    accounts.append(here.account("r", sent))


def started(here: Machine, *numbers: int) -> None:
    """Start workers of a good release."""
    request = here.request(here.release("old"), numbers, "v1")
    result = run(here, request)
    assert result["ok"], result


@pytest.mark.long
def test_workers_are_replaced_and_no_task_is_lost(here: Machine) -> None:
    started(here, 1, 2)
    accounts: list[Account] = []
    with load(here, accounts):
        new = here.release("new")
        for number in (1, 2):
            result = run(here, here.request(new, [number], "v2", canary=number == 1))
            assert result["ok"], result
            assert states(result) == {f"web@{number}": "new"}
            assert drained(result, number) == "idle"
    assert [here.revision(unit) for unit in sorted(here.running)] == ["v2", "v2"]
    (account,) = accounts
    assert (account.lost, account.run_twice) == ((), ())
    # Nothing that asked or probed stays behind in Redis.
    with here.redis() as redis:
        assert [key for key in redis.scan_iter() if b"reply" in key or b"probe" in key] == []


@pytest.mark.parametrize(
    ("how", "why"),
    [
        pytest.param("never ready", "celery-web@1.service did not come up; the end of its journal:", marks=pytest.mark.long),
        pytest.param("consumes nothing", "celery-web@1.service does not consume default", marks=pytest.mark.long),
        pytest.param("fails every task", "celery-web@1.service ", marks=pytest.mark.long),
    ],
)
def test_a_release_that_is_not_well_is_put_back(here: Machine, how: str, why: str) -> None:
    started(here, 1, 2)
    accounts: list[Account] = []
    with load(here, accounts):
        request = here.request(here.release("bad", BROKEN[how]), [1], "v2", canary=True)
        request["gates"]["web"]["ask"] |= {"settle": 5, "patience": 5, "first_task": 5}
        result = run(here, request)
    assert not result["ok"]
    assert result["put_back"]
    assert states(result) == {"web@1": "put back"}
    assert any(why in note for note in result["notes"]), result
    if how == "fails every task":
        assert any("tasks failed, of the others' 0 of" in note for note in result["notes"]), result
    assert [here.revision(unit) for unit in sorted(here.running)] == ["v1", "v1"]
    (account,) = accounts
    assert (account.lost, account.run_twice) == ((), ())


SLOW = """
import time
from billiard import current_process
if current_process().name != "MainProcess":
    time.sleep(12)
"""


@pytest.mark.long
@pytest.mark.parametrize("first_task", [3, 60])
def test_a_first_task_waits_for_a_process_that_imports_the_app(here: Machine, first_task: int) -> None:
    """A spawned process does so when the worker is ready already, and a large framework takes longer than an answer may."""
    here.pool, here.concurrency, here.flags = "prefork", 1, "--pool-start-method=spawn"
    release = here.release("new", 'app.conf.update(include=["slow"], worker_proc_alive_timeout=60)')
    (release / "slow.py").write_text(SLOW)
    request = here.request(release, [1], "v1", canary=True)
    request["gates"]["web"]["ask"] |= {"patience": 3, "first_task": first_task}
    result = run(here, request)
    assert result["ok"] is (first_task > 12), result
    assert any("a probe task sent to it did not come back in 3 s" in note for note in result["notes"]) is not result["ok"]


@pytest.mark.long
def test_one_that_is_alone_is_judged_by_what_it_replaces(here: Machine) -> None:
    """The second instance fails as much as the canary: a comparison of the two would say nothing."""
    started(here, 1)
    accounts: list[Account] = []
    with load(here, accounts):
        with here.redis() as redis:
            while redis.llen("default"):
                pass
        request = here.request(here.release("bad", BROKEN["fails every task"]), [1], "v2", canary=True)
        request["gates"]["web"]["ask"] |= {"settle": 5, "patience": 5, "first_task": 5}
        pid = here.process("celery-web@1.service")
        result = run(here, request)
    assert not result["ok"]
    assert any("tasks failed, of the others' 0 of" in note for note in result["notes"]), result
    # It did not come to that: the second one showed it, and the first one was never stopped.
    assert (states(result), here.process("celery-web@1.service")) == ({"web@1": "untouched"}, pid)


POLLS = """
@app.task(bind=True, max_retries=None)
def poll(self):
    raise self.retry(countdown=0.5)
"""


@pytest.mark.long
@pytest.mark.parametrize("min_consumers", [0, 1])
def test_tasks_that_try_again_are_none_that_failed(here: Machine, min_consumers: int) -> None:
    assert run(here, here.request(here.release("old", POLLS), [1], "v1", min_consumers=0))["ok"]
    with here.client() as client:
        for _ in range(4):
            client.send_task("jobs.poll", queue="default")
    request = here.request(here.release("new", POLLS), [1], "v2", min_consumers=min_consumers, canary=True)
    request["gates"]["web"]["ask"] |= {"settle": 4}
    result = run(here, request)
    assert result["ok"], result
    surge.end(here, here.root)


@pytest.mark.long
def test_a_step_that_was_cut_off_before_it_was_judged_is_judged_by_the_next(
    here: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine was reset: the worker that came up runs the new revision, and nobody knows whether it works."""

    class Reset(BaseException):
        pass

    def reset(*_: Any, **__: Any) -> None:
        raise Reset

    started(here, 1, 2)
    request = here.request(here.release("bad", BROKEN["consumes nothing"]), [1], "v2", canary=True)
    request["gates"]["web"]["ask"] |= {"patience": 4, "first_task": 4}
    with monkeypatch.context() as patch:
        patch.setattr(Step, "_pass_gate", reset)
        with pytest.raises(Reset):
            run(here, request)
    assert here.revision("celery-web@1.service") == "v2"
    assert Snapshot(here.root / "var").unverified() == ["celery-web@1.service"]
    result = run(here, request)
    assert (result["ok"], states(result)) == (False, {"web@1": "put back"})
    assert here.revision("celery-web@1.service") == "v1"
    assert Snapshot(here.root / "var").unverified() == []


@pytest.mark.long
def test_a_worker_whose_device_is_away_does_not_stop_a_rollout(here: Machine, tmp_path: Path) -> None:
    here.more = {"FLEET_GPU": "GPU-bb", "FLEET_GPU_STATE": str(tmp_path / "state.json")}
    (tmp_path / "state.json").write_text('{"unavailable": {"GPU-bb": "Xid 79"}, "known": ["GPU-bb"]}')
    result = run(here, here.request(here.release("new"), [1], "v2", min_consumers=0, canary=True))
    assert result["ok"], result
    assert result["notes"] == ["web-worker-1@test takes nothing until its device is back: Xid 79"]


OWN_SERIALIZER = """
from kombu.serialization import register
import json as _json
register("ours", lambda value: "!" + _json.dumps(value), lambda text: _json.loads(text[1:]), content_type="application/x-ours")
app.conf.update(task_serializer="ours", result_serializer="ours", accept_content={accept})
app.conf.broker_transport_options = {{"global_keyprefix": "p:"}}
app.conf.result_backend_transport_options = {{"global_keyprefix": "r:"}}
app.conf.update(control_exchange="elsewhere")
"""


@pytest.mark.long
@pytest.mark.parametrize(("accept", "outcome"), [(["ours", "json"], "idle"), (["ours"], "silent")])
def test_an_app_that_has_things_elsewhere_and_says_them_its_own_way(here: Machine, accept: list[str], outcome: str) -> None:
    more = OWN_SERIALIZER.format(accept=accept)
    first = run(here, here.request(here.release("old", more), [1, 2], "v1"))
    assert first["ok"], first
    result = run(here, here.request(here.release("new", more), [1], "v2", canary=True))
    assert result["ok"], result
    # Without JSON nobody but the app reads what its workers say, and SIGTERM drains alone.
    assert drained(result, 1) == outcome, result
    with here.redis() as redis:
        assert [key for key in redis.scan_iter() if b"probe" in key] == []


@pytest.mark.long
def test_the_last_consumer_of_a_queue_is_doubled_first(here: Machine) -> None:
    started(here, 1)
    accounts: list[Account] = []
    with load(here, accounts):
        result = run(here, here.request(here.release("new"), [1], "v2"))
        # It goes on until all hosts of the step are judged: it may be needed to put back.
        assert sorted(here.running) == ["celery-web@1-surge.service", "celery-web@1.service"]
        surge.end(here, here.root)
    assert result["ok"], result
    assert result["units"]["celery-web@1.service"]["surged"]
    assert sorted(here.running) == ["celery-web@1.service"]
    assert not list((here.root / "run/systemd/system").iterdir())
    (account,) = accounts
    assert (account.lost, account.run_twice) == ((), ())
    assert {node for _, _, _, node in here.entries("r")} == {"web-worker-1@test", "web-worker-1-surge@test"}


@pytest.mark.long
def test_the_second_one_stays_where_the_old_release_does_not_come_back(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    started(here, 1)
    request = here.request(here.release("new"), [1], "v2")
    bring = here.bring

    def fall(verb: str, units: Iterable[str]) -> bool:
        units = list(units)
        if any("surge" in unit for unit in units):
            return bring(verb, units)
        here.stop(units)
        return False

    monkeypatch.setattr(here, "bring", fall)
    result = run(here, request)
    assert (result["ok"], states(result)) == (False, {"web@1": "down"})
    assert sorted(here.running) == ["celery-web@1-surge.service"]
    assert "left running, since nothing else serves their queues: celery-web@1-surge.service" in result["notes"][-1]


@pytest.mark.long
def test_without_memory_for_a_second_one_nothing_goes_down(here: Machine) -> None:
    started(here, 1)
    request = here.request(here.release("new"), [1], "v2")
    request["units"]["celery-web@1.service"]["need"] = 1 << 60
    result = run(here, request)
    assert not result["ok"]
    assert states(result) == {"web@1": "untouched"}
    assert "nothing went down: default (0 of 1) would have too few consumers, and there is no memory" in result["notes"][0]
    assert Snapshot(here.root / "var").unverified() == []  # or the next deploy would restart what it never touched
    assert here.revision("celery-web@1.service") == "v1"


@pytest.mark.long
def test_where_second_ones_are_not_enough_nothing_goes_down(here: Machine) -> None:
    started(here, 1)
    result = run(here, here.request(here.release("new"), [1], "v2", min_consumers=2))
    assert not result["ok"]
    assert "default (0 of 2) would have too few consumers, and second ones would make 1 for default" in result["notes"][0]
    assert here.revision("celery-web@1.service") == "v1"


@pytest.mark.long
def test_a_second_one_that_is_not_well_leaves_the_first_alone(here: Machine) -> None:
    started(here, 1)
    pid = here.process("celery-web@1.service")
    result = run(here, here.request(here.release("bad", BROKEN["never ready"]), [1], "v2"))
    assert not result["ok"]
    assert here.process("celery-web@1.service") == pid
    assert sorted(here.running) == ["celery-web@1.service"]


@pytest.mark.long
def test_a_step_that_went_well_can_be_put_back_and_is_not_done_twice(here: Machine) -> None:
    started(here, 1, 2)
    request = here.request(here.release("new"), [1], "v2")
    assert run(here, request)["ok"]
    pid = here.process("celery-web@1.service")
    # The run that asked for it was cut off, and the next asks again.
    again = run(here, request)
    assert (again["ok"], states(again), here.process("celery-web@1.service")) == (True, {"web@1": "new"}, pid)
    assert Snapshot(here.root / "var", here.root).put_back(here)
    assert here.revision("celery-web@1.service") == "v1"


@pytest.mark.long
def test_a_broker_that_is_away_stops_the_step_before_anything_goes_down(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    started(here, 1, 2)
    request = here.request(here.release("new"), [1], "v2")
    request["gates"]["web"]["base"]["CELERY_BROKER_URL"] = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(gates, "GATE_START", 5)
    pid = here.process("celery-web@1.service")
    result = run(here, request)
    assert not result["ok"]
    assert "could not ask the workers" in result["notes"][0]
    assert here.process("celery-web@1.service") == pid


def test_a_second_step_waits_for_the_first(tmp_path: Path) -> None:
    with (
        alone(tmp_path),
        pytest.raises(StepError, match="still at work on this machine"),
        alone(tmp_path, patience=0),
    ):
        pass
