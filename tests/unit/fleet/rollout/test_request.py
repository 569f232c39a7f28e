"""What a machine is asked to do in a step: of each instance's own settings, in the words of its release."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.engine.run import Run
from fleet.plan.instance import Instance
from fleet.plan.process import START_SECONDS
from fleet.rollout import request
from fleet.rollout.steps import Step
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER
from fleet.state.desired import State, Unit
from fleet.state.observed import ObservedMachine, RunningUnit
from fleet.state.release import Release
from roles import worker
from tests.unit.fleet_support import fleet_of, make_app, plan_of

WEB: dict[str, Any] = {"queues": ["default", "priority"], "workload": "io", "instances": 1}
NEW, OLD = Release("new", "shop.app"), Release("old", "shop.app", protocol=0)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """web1 as its group is; web2 with queues and limits of its own."""
    make_app(tmp_path)
    monkeypatch.chdir(tmp_path)
    fleet = fleet_of({"web": WEB})
    host = fleet.hosts["web2"]
    own = host.workers["web"].model_copy(update={"queues": ["default"], "time_limit": 3600, "canary_settle": 77})
    fleet = replace(fleet, hosts={**fleet.hosts, "web2": replace(host, workers={"web": own})})
    observed = {name: ObservedMachine(hostname=f"{name}.lan", python="3.11") for name in fleet.hosts}
    secrets = {BROKER_WORKER: "secret", BROKER_MONITOR: "secret"}
    return Run(fleet, secrets, (), observed, plan_of(fleet))


def instance(run: Run, host: str) -> Instance:
    return next(each for each in run.plan.instances if each.host == host)


def built(run: Run, host: str, release: Release = NEW, canary: bool = True) -> dict[str, Any]:
    step = Step((instance(run, host),), canary=canary)
    text = request.build(run, worker, run.fleet.hosts[host], step, {"web": release}, None, expected=2)
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def test_a_host_with_queues_of_its_own_is_asked_for_these(run: Run) -> None:
    first, second = built(run, "web1"), built(run, "web2")
    assert first["units"]["celery-web@1.service"]["queues"] == ["default", "priority"]
    assert second["units"]["celery-web@1.service"]["queues"] == ["default"]
    assert first["min_consumers"] == {"default": 1, "priority": 1}
    assert second["min_consumers"] == {"default": 1}
    # What its unit consumes is what the gate asks it for.
    assert "--queues=default " in second["units"]["celery-web@1.service"]["surge"]["text"]


def test_a_host_with_limits_of_its_own_is_given_its_own_time(run: Run) -> None:
    step = {host: Step((instance(run, host),)) for host in ("web1", "web2")}
    longest = {host: instance(run, host).worker.longest_stop for host in step}
    assert longest["web2"] > 3 * longest["web1"]
    assert request.bound(step["web2"]) - request.bound(step["web1"]) >= 8 * (longest["web2"] - longest["web1"])
    assert request.bound(step["web1"]) > 8 * longest["web1"] + 4 * START_SECONDS
    assert built(run, "web2")["gates"]["web"]["ask"]["settle"] == 77
    assert built(run, "web2", canary=False)["gates"]["web"]["ask"]["settle"] == 5


def test_workers_are_named_as_their_machine_calls_itself(run: Run) -> None:
    assert built(run, "web1")["stopping"] == ["web-worker-1@web1.lan"]
    assert built(run, "web1")["units"]["celery-web@1.service"]["surge"]["node"] == "web-worker-1-surge@web1.lan"


def test_a_release_from_before_the_protocol_is_asked_in_its_words(run: Run) -> None:
    new, old = built(run, "web1"), built(run, "web1", OLD)
    assert (old["going"], old["keep"]) == (new["stopping"], new["min_consumers"])
    assert "going" not in new
    assert request.command(NEW, "--commit").endswith("fleet_node.step --commit")
    assert request.command(OLD, "--commit").endswith("fleet_node.step --keep")
    assert request.command(OLD, "--put-back").endswith("--put-back")
    # What a newer step that was cut off has left is unknown to it.
    assert "rm -f /var/lib/fleet/unverified /var/lib/fleet/snapshot.json /var/lib/fleet/snapshot.tar; " in request.command(OLD)
    assert "rm -f" not in request.command(NEW)
    assert "before.json" in request.commit_command(OLD)
    assert "snapshot.json" in request.commit_command(NEW)


def test_workers_that_should_answer_are_those_that_were_up(run: Run) -> None:
    assert request.expected_workers(run.plan, run.observed) == 0
    unit = RunningUnit(active=True, enabled=True, stale=False)
    up = {**run.observed, "web1": ObservedMachine(units={"celery-web@1.service": unit})}
    assert request.expected_workers(run.plan, up) == 1
    del up["web2"]  # --limit: what this run does not ask is taken to be there
    assert request.expected_workers(run.plan, up) == 2


def test_what_is_written_in_a_step_is_not_written_before_it(run: Run) -> None:
    from fleet.state.diff import compare

    desired = replace(worker.desired(run, run.fleet.hosts["web1"]), packages=("redis-tools",))
    changes = compare(desired, run.observed["web1"])
    before, after = request.around(changes, desired, [instance(run, "web1")])
    assert [entry.path for entry in before.write] == ["/var/lib/celery/web"]
    assert before.install == ("redis-tools",)
    assert (before.start, before.restart, before.stop) == ((), (), ())
    assert not after
    assert {entry.path for entry in request.files_of(desired, [instance(run, "web1")])} == {
        "/etc/fleet/web.env",
        "/etc/systemd/system/celery-web@1.service",
    }
    assert request.files_of(State(units=(Unit("x"),)), [instance(run, "web1")]) == ()
