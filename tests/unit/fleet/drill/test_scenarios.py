"""Which alerts a fault should set off, and how what was sent is judged."""

from typing import Any

import pytest

from fleet.drill import scenarios
from fleet.drill.context import RunningWorker
from fleet.drill.errors import DrillError
from fleet.drill.scenarios import SCENARIOS, WITHIN, Place, Scenario
from fleet.drill.watch import Alert, Watch, parse
from tests.unit.fleet_support import fleet_of, plan_of
from tests.unit.shop_support import free_port

pytestmark = pytest.mark.usefixtures("app_folder")
WEB = {"queues": ["default"], "workload": "io", "concurrency": 4, "min_consumers": 1, "instances": 1}


def place(hosts: int) -> tuple[Any, Place]:
    plan = plan_of(fleet_of({"web": WEB}, hosts_a_role=hosts))
    return plan, Place(RunningWorker("web1", "celery-web@1.service", "web-worker-1@web1"), plan.placed[0])


def alert(name: str, since: float, waits: float = 60, **labels: str) -> Alert:
    return Alert(name, tuple(sorted(labels.items())), since, waits)


def test_a_worker_that_others_stand_in_for_is_only_silent() -> None:
    plan, where = place(2)
    assert scenarios.expected(SCENARIOS["worker-away"], plan, where) == (frozenset({"WorkerSilent"}), frozenset())
    assert scenarios.expected(SCENARIOS["ghost"], plan, where) == (frozenset({"CapacityLost"}), frozenset())


def test_the_only_worker_takes_its_queues_with_it() -> None:
    plan, where = place(1)
    for name, own in (("worker-away", "WorkerSilent"), ("ghost", "CapacityLost")):
        expected, may = scenarios.expected(SCENARIOS[name], plan, where)
        assert expected == {own, "WorkerSilent"}
        assert "QueueUnconsumed" in may


@pytest.mark.parametrize(
    ("alerts", "problems"),
    [
        ([alert("A", 1030)], []),
        ([alert("A", 1000 + WITHIN + 5)], ["A fired after 185 s, and its limit is 180 s"]),
        ([], ["A did not fire"]),
        ([alert("A", 1010), alert("B", 1020, queue="default", instance="x")], ["B (default) fired"]),
        ([alert("A", 1010), alert("May", 1020)], []),
        ([alert("A", 1010), alert("A", 1200)], []),
    ],
)
def test_what_was_sent_is_judged(alerts: list[Alert], problems: list[str]) -> None:
    scenario = Scenario("x", "do x", frozenset({"A"}), may=frozenset({"May"}))
    done = scenarios.result(scenario, "web1", 1000, 1300, alerts, (scenario.alerts, scenario.may), 0)
    assert done.problems == problems
    assert done.as_json()["went_wrong"] == "; ".join(problems)


def test_names_of_faults() -> None:
    assert [scenario.name for scenario in scenarios.chosen("reboot, ghost")] == ["ghost", "reboot"], "in their own order"
    assert len(scenarios.chosen("")) == len(SCENARIOS)
    with pytest.raises(DrillError, match="--only: no 'gost'; there are: restart, "):
        scenarios.chosen("gost")


def test_what_prometheus_and_alertmanager_answer() -> None:
    def rule(name: str, *alerts: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "duration": 120, "alerts": alerts}

    def firing(state: str, **labels: str) -> dict[str, Any]:
        return {"state": state, "labels": labels, "activeAt": "2026-11-29T22:13:39.1560315Z"}

    rules = [
        rule("Sent", firing("firing", alertname="Sent", queue="q")),
        rule("Held", firing("firing", alertname="Held")),
        rule("Soon", firing("pending", alertname="Soon")),
    ]
    look = parse({"data": {"groups": [{"rules": rules}]}}, [{"labels": {"alertname": "Sent", "queue": "q"}}])
    assert [(alert.name, alert.sent) for alert in look.fires] == [("Sent", True), ("Held", False)]
    assert look.fires[0].fired_at == 1795990419 + 120
    assert look.pending == {"Soon"}


def test_a_monitor_that_does_not_answer_is_one_line() -> None:
    with (
        pytest.raises(DrillError, match="the monitor's Prometheus or Alertmanager does not answer: ConnectionRefused"),
        Watch(free_port(), free_port()),
    ):
        pass
