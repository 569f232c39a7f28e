"""A host that overrides its role's queues is asked for its own: with a plan, and a real worker that consumes these."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.engine.run import Run
from fleet.rollout import request
from fleet.rollout.steps import Step as PlannedStep
from fleet.spec.secrets import BROKER_MONITOR, BROKER_WORKER
from fleet.state.observed import ObservedMachine
from fleet.state.release import Release
from fleet_node.protocol import StepRequest
from fleet_node.step.step import Step
from roles import worker
from tests.unit.fleet_support import fleet_of, make_app, plan_of
from tests.unit.process_support import Machine, machine

UNIT = "celery-web@1.service"


def planned(host: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> StepRequest:
    """What the control side asks of a host: the group consumes two queues, and web2 one of them."""
    make_app(folder)
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        fleet = fleet_of({"web": {"queues": ["default", "priority"], "workload": "io", "instances": 1}})
    own = fleet.hosts["web2"].workers["web"].model_copy(update={"queues": ["default"]})
    fleet = replace(fleet, hosts={**fleet.hosts, "web2": replace(fleet.hosts["web2"], workers={"web": own})})
    secrets = {BROKER_WORKER: "secret", BROKER_MONITOR: "secret"}
    run = Run(fleet, secrets, (), dict.fromkeys(fleet.hosts, ObservedMachine(python="3.11")), plan_of(fleet))
    instance = next(instance for instance in run.plan.instances if instance.host == host)
    releases = {"web": Release("new", "jobs")}
    text = request.build(run, worker, fleet.hosts[host], PlannedStep((instance,)), releases, None, expected=1)
    asked: StepRequest = json.loads(text)
    return asked


def stepped(here: Machine, asked: StepRequest) -> Step:
    """A step on the worker of this machine, which consumes `default`, with the queues that the control side asked for."""
    here.start(here.release("old"))
    step = here.request(here.release("new"), (1,), "v2")
    step["units"][UNIT]["queues"] = asked["units"][UNIT]["queues"]
    step["min_consumers"] = dict.fromkeys(asked["min_consumers"], 0)
    return Step(step, here, here.root, here.root / "var")


@pytest.mark.long
def test_it_is_asked_for_its_own_queues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = planned("web2", tmp_path, monkeypatch)
    with machine(tmp_path) as here:
        result = stepped(here, asked).run()
        assert result["ok"], result
        assert result["units"][UNIT]["state"] == "new"


@pytest.mark.long
def test_asked_for_its_groups_queues_it_would_be_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = planned("web1", tmp_path, monkeypatch)
    with machine(tmp_path) as here:
        result = stepped(here, asked).run()
        assert (result["ok"], result["units"][UNIT]["state"]) == (False, "put back")
        assert "does not consume priority" in result["units"][UNIT].get("why", "")
